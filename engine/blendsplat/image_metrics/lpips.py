# SPDX-License-Identifier: Apache-2.0
"""LPIPS with SqueezeNet 1.1 (Zhang et al. 2018; Iandola et al. 2016), from a weights file that the user provides.

The weights are not shipped; the .npz holds the network under its usual key names and the seven linear heads.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, max_pool2d, relu

from blendsplat.errors import FormatError

_FIRE_LAYERS = (3, 4, 6, 7, 9, 10, 11, 12)
_POOL_BEFORE = (3, 6, 9)
_TAPS = (4, 7, 9, 10, 11, 12)  # the layers, after the first convolution, whose features are compared too
# the metric's own input scaling, for images in [-1,1]
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)


class Lpips(nn.Module):
    """Perceptual distance [B] of images [B,H,W,3] in [0,1] (scaled to [-1,1] inside). Differentiable."""

    def __init__(self, weights: Path | str) -> None:
        super().__init__()
        for name, array in _read(Path(weights)).items():
            self.register_buffer(name.replace(".", "_"), torch.from_numpy(array))
        self.register_buffer("shift", torch.tensor(_SHIFT).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(_SCALE).view(1, 3, 1, 1))

    def forward(self, images: Tensor, targets: Tensor) -> Tensor:
        batch = images.shape[0]
        both = torch.cat([images, targets]).permute(0, 3, 1, 2) * 2 - 1
        total = images.new_zeros(batch)
        for layer, features in enumerate(self._features((both - self.get_buffer("shift")) / self.get_buffer("scale"))):
            unit = features / (features.pow(2).sum(1, keepdim=True) + 1e-10).sqrt()
            difference = (unit[:batch] - unit[batch:]) ** 2
            total = total + conv2d(difference, self.get_buffer(f"lpips_lin{layer}_weight")).mean((1, 2, 3))
        return total

    def _features(self, x: Tensor) -> list[Tensor]:
        x = relu(conv2d(x, self.get_buffer("features_0_weight"), self.get_buffer("features_0_bias"), stride=2))
        taps = [x]
        for layer in _FIRE_LAYERS:
            if layer in _POOL_BEFORE:
                x = max_pool2d(x, 3, 2, ceil_mode=True)
            x = self._fire(x, layer)
            if layer in _TAPS:
                taps.append(x)
        return taps

    def _fire(self, x: Tensor, layer: int) -> Tensor:
        """Squeeze by 1x1, expand by 1x1 and 3x3 side by side."""

        def convolve(value: Tensor, part: str, padding: int = 0) -> Tensor:
            weight, bias = (self.get_buffer(f"features_{layer}_{part}_{kind}") for kind in ("weight", "bias"))
            return relu(conv2d(value, weight, bias, padding=padding))

        squeezed = convolve(x, "squeeze")
        return torch.cat([convolve(squeezed, "expand1x1"), convolve(squeezed, "expand3x3", 1)], 1)


def _read(path: Path) -> dict[str, np.ndarray]:
    """The .npz's arrays as float32, all that are needed present."""
    needed = ["features.0.weight", "features.0.bias", *(f"lpips.lin{index}.weight" for index in range(len(_TAPS) + 1))]
    for layer in _FIRE_LAYERS:
        needed += [
            f"features.{layer}.{part}.{kind}"
            for part in ("squeeze", "expand1x1", "expand3x3")
            for kind in ("weight", "bias")
        ]
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [name for name in needed if name not in archive.files]
            arrays = {name: archive[name].astype(np.float32) for name in needed if name in archive.files}
    except Exception as error:  # zip, zlib and numpy each raise their own
        raise FormatError(f"The LPIPS weights {path} cannot be read as .npz.", repr(error)) from error
    if missing:
        raise FormatError(f"The LPIPS weights {path} lack {missing[0]!r}: SqueezeNet 1.1 with LPIPS heads is needed.")
    return arrays
