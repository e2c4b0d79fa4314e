# SPDX-License-Identifier: Apache-2.0
"""A parametric head to observations: the least squares that clips, photographs and a camera's frames share."""
