# SPDX-License-Identifier: Apache-2.0
"""The 478 points of a face: who finds them in a picture, what they are called and how they are grouped."""
