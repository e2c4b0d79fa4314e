# SPDX-License-Identifier: Apache-2.0
"""A pytest plugin: the CPU kernels are those of $SOAK_KERNELS, built with a sanitizer (threads.py)."""

from __future__ import annotations

import importlib.util
import os
import sys

NAME = "blendsplat._kernels_cpu"
_spec = importlib.util.spec_from_file_location(NAME, os.environ["SOAK_KERNELS"])
assert _spec is not None and _spec.loader is not None
sys.modules[NAME] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sys.modules[NAME])
