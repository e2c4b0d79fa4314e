# SPDX-License-Identifier: Apache-2.0
"""Reconstruction from a running camera: capture, matte, tracking and training side by side, bounded in memory."""
