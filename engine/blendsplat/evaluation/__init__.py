# SPDX-License-Identifier: Apache-2.0
"""Scores of fits, clips and scans against what is known to be true."""
