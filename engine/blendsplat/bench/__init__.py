# SPDX-License-Identifier: Apache-2.0
"""Benchmarks: each measures one part of the product and returns rows that docs/benchmarks.md quotes."""
