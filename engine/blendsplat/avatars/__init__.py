# SPDX-License-Identifier: Apache-2.0
"""Avatars: learned Gaussians on a head, their file, rendering and export; each system in a room of its own."""
