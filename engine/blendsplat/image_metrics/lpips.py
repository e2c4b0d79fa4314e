# SPDX-License-Identifier: Apache-2.0
"""LPIPS (Zhang et al. 2018, version 0.1) with SqueezeNet 1.1 (Iandola et al. 2016) or VGG16 (Simonyan and Zisserman
2015), from a weights file that the user provides; its keys say which network it is.

The weights are not shipped; the .npz holds the network under torchvision's key names and a linear head for each of the
layers whose features are compared, ``lpips.lin0.weight`` [1,C,1,1] and so on (docs/measures.md). Numbers of one network
do not compare with those of the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, max_pool2d, relu

from blendsplat.errors import FormatError
from blendsplat.files import opened_npz

# the metric's own input scaling, for images in [-1,1]
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)

Weights = Callable[[str], Tensor]  # by the file's name
Shapes = dict[str, tuple[int, ...]]


class Lpips(nn.Module):
    """Perceptual distance [B] of images [B,H,W,3] in [0,1] (scaled to [-1,1] inside), 16 pixels or more each way.
    Differentiable. ``network`` is "squeeze" or "vgg"."""

    def __init__(self, weights: Path | str) -> None:
        """Raises FormatError, with what is missing, for a file that holds neither network with its heads."""
        super().__init__()
        self._network, arrays = _read(Path(weights))
        self.network = self._network.name
        for name, array in arrays.items():
            self.register_buffer(_buffer(name), torch.from_numpy(array))
        self.register_buffer("shift", torch.tensor(_SHIFT).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(_SCALE).view(1, 3, 1, 1))

    def forward(self, images: Tensor, targets: Tensor) -> Tensor:
        batch = images.shape[0]
        both = torch.cat([images, targets]).permute(0, 3, 1, 2) * 2 - 1
        both = (both - self.get_buffer("shift")) / self.get_buffer("scale")
        total = images.new_zeros(batch)
        for layer, features in enumerate(self._network.features(both, self._weights)):
            unit = features / (features.pow(2).sum(1, keepdim=True) + 1e-10).sqrt()
            difference = (unit[:batch] - unit[batch:]) ** 2
            total = total + conv2d(difference, self._weights(f"lpips.lin{layer}.weight")).mean((1, 2, 3))
        return total

    def _weights(self, name: str) -> Tensor:
        return self.get_buffer(_buffer(name))


@dataclass(frozen=True)
class _Network:
    """shapes: what its file holds. features: images [B,3,H,W], scaled -> the features that are compared."""

    name: str
    title: str
    shapes: Shapes
    features: Callable[[Tensor, Weights], list[Tensor]]


def _buffer(name: str) -> str:
    return name.replace(".", "_")


def _read(path: Path) -> tuple[_Network, dict[str, np.ndarray]]:
    """The network that the .npz is of, and its arrays as float32, all that are needed present."""
    try:
        with opened_npz(path) as archive:
            network = max(_NETWORKS, key=lambda one: len(one.shapes.keys() & set(archive.files)))
            arrays = {name: archive[name].astype(np.float32) for name in network.shapes if name in archive.files}
    except Exception as error:  # zip, zlib and numpy each raise their own
        raise FormatError(f"The LPIPS weights {path} cannot be read as .npz.", repr(error)) from error
    need = f"{network.title} with LPIPS heads" if arrays else "SqueezeNet 1.1 or VGG16 with LPIPS heads"
    if missing := [name for name in network.shapes if name not in arrays]:
        raise FormatError(f"The LPIPS weights {path} lack {missing[0]!r}: {need} is needed.", ", ".join(missing))
    for name, shape in network.shapes.items():
        if arrays[name].shape != shape:
            have = list(arrays[name].shape)
            raise FormatError(f"The LPIPS weights {path} have {name!r} {have}, not {list(shape)}: {need} is needed.")
    return network, arrays


def _heads(channels: list[int]) -> Shapes:
    return {f"lpips.lin{layer}.weight": (1, count, 1, 1) for layer, count in enumerate(channels)}


def _convolution(name: str, inputs: int, outputs: int, size: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs, size, size), f"{name}.bias": (outputs,)}


# --- SqueezeNet 1.1

_FIRE = {
    3: (64, 16, 64), 4: (128, 16, 64), 6: (128, 32, 128), 7: (256, 32, 128), 9: (256, 48, 192), 10: (384, 48, 192),
    11: (384, 64, 256), 12: (512, 64, 256),
}  # layer: channels that come, are left by squeezing, and are made by each of the two convolutions  # fmt: skip
_POOL_BEFORE = (3, 6, 9)
_TAPS = (4, 7, 9, 10, 11, 12)  # the layers, after the first convolution, whose features are compared too


def _squeeze_shapes() -> Shapes:
    shapes = _convolution("features.0", 3, 64, 3)
    for layer, (inputs, squeezed, expanded) in _FIRE.items():
        shapes |= _convolution(f"features.{layer}.squeeze", inputs, squeezed, 1)
        for size in (1, 3):
            shapes |= _convolution(f"features.{layer}.expand{size}x{size}", squeezed, expanded, size)
    return shapes | _heads([64, *(2 * _FIRE[layer][2] for layer in _TAPS)])


def _squeeze_features(x: Tensor, weights: Weights) -> list[Tensor]:
    x = relu(conv2d(x, weights("features.0.weight"), weights("features.0.bias"), stride=2))
    taps = [x]
    for layer in _FIRE:
        if layer in _POOL_BEFORE:
            x = max_pool2d(x, 3, 2, ceil_mode=True)
        x = _fire(x, f"features.{layer}", weights)
        if layer in _TAPS:
            taps.append(x)
    return taps


def _fire(x: Tensor, name: str, weights: Weights) -> Tensor:
    """Squeeze by 1x1, expand by 1x1 and 3x3 side by side."""

    def convolve(value: Tensor, part: str, padding: int = 0) -> Tensor:
        weight, bias = (weights(f"{name}.{part}.{kind}") for kind in ("weight", "bias"))
        return relu(conv2d(value, weight, bias, padding=padding))

    squeezed = convolve(x, "squeeze")
    return torch.cat([convolve(squeezed, "expand1x1"), convolve(squeezed, "expand3x3", 1)], 1)


# --- VGG16

_VGG = ((64, (0, 2)), (128, (5, 7)), (256, (10, 12, 14)), (512, (17, 19, 21)), (512, (24, 26, 28)))
"""Channels and layers of the five blocks; the last of each, after its ReLU, is compared, and pooled for the next."""


def _vgg_shapes() -> Shapes:
    shapes: Shapes = {}
    inputs = 3
    for channels, layers in _VGG:
        for layer in layers:
            shapes |= _convolution(f"features.{layer}", inputs, channels, 3)
            inputs = channels
    return shapes | _heads([channels for channels, _ in _VGG])


def _vgg_features(x: Tensor, weights: Weights) -> list[Tensor]:
    taps: list[Tensor] = []
    for _, layers in _VGG:
        x = max_pool2d(x, 2) if taps else x
        for layer in layers:
            x = relu(conv2d(x, weights(f"features.{layer}.weight"), weights(f"features.{layer}.bias"), padding=1))
        taps.append(x)
    return taps


_NETWORKS = (
    _Network("squeeze", "SqueezeNet 1.1", _squeeze_shapes(), _squeeze_features),
    _Network("vgg", "VGG16", _vgg_shapes(), _vgg_features),
)
