# SPDX-License-Identifier: Apache-2.0
"""Photographs of people to heads: read, fit, texture, export."""
