# SPDX-License-Identifier: Apache-2.0
"""KaoLRM (Zhu et al. 2026): a large reconstruction model that regresses a parametric head from one image.

``load_model(directory)`` reads the user's weights; ``model.regress(images)`` gives shape, expression, pose, scale and
translation. The modules: config, encoder, triplane, decoders, model (the network), inference, weights (files).
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blendsplat.kaolrm.config import Config
    from blendsplat.kaolrm.model import KaoLRM
    from blendsplat.kaolrm.preprocess import prepare_cutout
    from blendsplat.kaolrm.weights import load_model, load_openlrm, save_model

__all__ = ["Config", "KaoLRM", "load_model", "load_openlrm", "prepare_cutout", "save_model"]

_HOMES = {
    "Config": "config", "KaoLRM": "model", "load_model": "weights", "load_openlrm": "weights",
    "prepare_cutout": "preprocess", "save_model": "weights",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import torch's part when it is asked for: the command line lists weights without it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
