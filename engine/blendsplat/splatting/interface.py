# SPDX-License-Identifier: Apache-2.0
"""Whether compiled kernels belong to the Python files beside them."""

from __future__ import annotations

from types import ModuleType

from blendsplat.errors import BlendsplatError

KERNEL_INTERFACE = 6  # as in cuda_ext/include/blendsplat/interface.h


def check_interface(kernels: ModuleType) -> None:
    """Raise BlendsplatError unless the module was built for the Python beside it."""
    built = getattr(kernels, "INTERFACE", None)
    if built != KERNEL_INTERFACE:
        raise BlendsplatError(
            "Blendsplat's compiled kernels come from another version than the Python files beside them: install the "
            "wheel again, or run 'make build' in a working tree.",
            detail=f"{kernels.__name__}: interface {built}, expected {KERNEL_INTERFACE}",
        )
