# SPDX-License-Identifier: Apache-2.0
"""LPIPS: distortions in order with real SqueezeNet weights; both networks, with weights drawn at random, against the
networks written as torchvision's modules; files that hold neither."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from blendsplat.errors import FormatError
from blendsplat.image_metrics.lpips import Lpips

CONV, RELU, POOL = "conv", "relu", "pool"
# torchvision's vgg16().features without the last pooling: configuration D of the paper
VGG16 = [64, 64, POOL, 128, 128, POOL, 256, 256, 256, POOL, 512, 512, 512, POOL, 512, 512, 512]
RELU_OF_BLOCK = (3, 8, 15, 22, 29)  # relu1_2, relu2_2, relu3_3, relu4_3, relu5_3


class Fire(nn.Module):
    """torchvision.models.squeezenet.Fire, whose keys the weights have."""

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x).clamp_min(0)
        return torch.cat([self.expand1x1(x).clamp_min(0), self.expand3x3(x).clamp_min(0)], 1)


def vgg16() -> nn.Sequential:
    modules: list[nn.Module] = []
    channels = 3
    for entry in VGG16:
        if entry == POOL:
            modules.append(nn.MaxPool2d(kernel_size=2, stride=2))
            continue
        modules += [nn.Conv2d(channels, int(entry), kernel_size=3, padding=1), nn.ReLU()]
        channels = int(entry)
    return nn.Sequential(*modules)


def squeezenet() -> nn.Sequential:
    pool = nn.MaxPool2d(3, 2, ceil_mode=True)
    return nn.Sequential(
        nn.Conv2d(3, 64, 3, stride=2), nn.ReLU(), pool, Fire(64, 16, 64), Fire(128, 16, 64), pool, Fire(128, 32, 128),
        Fire(256, 32, 128), pool, Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256),
    )  # fmt: skip


# the slices after which pnetlin compares, and their channels
NETWORKS = {
    "vgg": (vgg16, RELU_OF_BLOCK, [64, 128, 256, 512, 512]),
    "squeeze": (squeezenet, (1, 4, 7, 9, 10, 11, 12), [64, 128, 256, 384, 384, 512, 512]),
}


def drawn(name: str) -> tuple[nn.Sequential, tuple[int, ...], list[Tensor]]:
    """(network, numbers of the compared modules, heads) with random weights that keep the signal's size."""
    make, taps, channels = NETWORKS[name]
    torch.manual_seed(3)
    network = make()
    for parameter in network.parameters():
        if parameter.ndim > 1:
            nn.init.kaiming_normal_(parameter)
    return network, taps, [torch.rand(count) for count in channels]


def written(name: str, path: Path, **changes: np.ndarray | None) -> Path:
    """Its weights as the user's file; changes: other arrays, None for one that is left out."""
    network, _, heads = drawn(name)
    arrays = {f"features.{key}": value.detach().numpy() for key, value in network.state_dict().items()}
    arrays |= {f"lpips.lin{layer}.weight": head.view(1, -1, 1, 1).numpy() for layer, head in enumerate(heads)}
    arrays |= {key.replace("_in_", "."): value for key, value in changes.items()}
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


def reference(name: str, image: Tensor, target: Tensor) -> Tensor:
    """The distance of one pair [H,W,3], module by module, with sums spelled out."""
    network, taps, heads = drawn(name)
    network.to(image.dtype)
    mean, spread = (image.new_tensor(v)[:, None, None] for v in ([-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]))
    x, y = (((2 * one.permute(2, 0, 1) - 1 - mean) / spread)[None] for one in (image, target))
    total, heads = image.new_zeros(()), list(heads)
    for number, module in enumerate(network):
        x, y = module(x), module(y)
        if number in taps:
            a, b = (one[0] / (torch.linalg.vector_norm(one[0], dim=0) ** 2 + 1e-10).sqrt() for one in (x, y))
            weighted = torch.tensordot(heads.pop(0).to(a), (a - b) ** 2, 1)
            total = total + weighted.sum() / weighted.numel()
    assert not heads
    return total


@pytest.mark.parametrize("size", [(32, 48), (37, 21)], ids=["even", "odd"])
@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_the_published_metric_and_so_are_its_gradients(name: str, size: tuple[int, int], tmp_path: Path) -> None:
    metric, rng = Lpips(written(name, tmp_path / "weights.npz")).double(), torch.Generator().manual_seed(1)
    assert metric.network == name
    images, targets = (torch.rand(2, *size, 3, generator=rng).double() for _ in range(2))
    images.requires_grad_()
    found = metric(images, targets)
    wanted = torch.stack([reference(name, image, target) for image, target in zip(images, targets, strict=True)])
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=0)
    weights = torch.tensor([1.0, -0.5]).double()
    mine, theirs = (torch.autograd.grad((value * weights).sum(), images)[0] for value in (found, wanted))
    torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-6 * float(theirs.abs().max()))
    assert mine.abs().max() > 0 and not metric(targets, targets).any()


@pytest.mark.parametrize("name", NETWORKS)
def test_half_precision_files_are_read(name: str, tmp_path: Path) -> None:
    whole = written(name, tmp_path / "whole.npz")
    with np.load(whole) as archive:
        np.savez(tmp_path / "half.npz", **{key: archive[key].astype(np.float16) for key in archive.files})
    a, b = torch.rand(2, 1, 32, 32, 3, generator=torch.Generator().manual_seed(0))
    first, second = (float(Lpips(tmp_path / f"{file}.npz")(a, b)) for file in ("whole", "half"))
    assert first == pytest.approx(second, rel=1e-2) and first != second


def test_lpips_orders_distortions_and_is_zero_for_equals(test_data) -> None:
    lpips = Lpips(test_data("perceptual/lpips_squeeze.npz"))
    assert lpips.network == "squeeze"
    y, x = torch.meshgrid(torch.linspace(0, 1, 96), torch.linspace(0, 1, 96), indexing="ij")
    image = torch.stack([x, y, (12 * x).sin() * (9 * y).cos() * 0.5 + 0.5], -1)[None]
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(1))
    assert float(lpips(image, image)) == 0
    a, b, c = (float(lpips((image + s * noise).clamp(0, 1), image)) for s in (0.02, 0.1, 0.3))
    assert 0 < a < b < c < 2
    leaf = (image + 0.1 * noise).requires_grad_()
    lpips(leaf, image).sum().backward()
    assert torch.isfinite(leaf.grad).all() and leaf.grad.abs().max() > 0


def test_what_is_no_weights_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="cannot be read"):
        Lpips(tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(FormatError, match=r"features\.0\.weight.*SqueezeNet 1\.1 or VGG16 with LPIPS heads"):
        Lpips(tmp_path / "other.npz")


@pytest.mark.parametrize(
    ("name", "missing", "title"),
    [
        ("vgg", "lpips.lin4.weight", "VGG16"), ("vgg", "features.28.bias", "VGG16"),
        ("vgg", "features.0.weight", "VGG16"), ("squeeze", "lpips.lin6.weight", r"SqueezeNet 1\.1"),
        ("squeeze", "features.12.expand3x3.weight", r"SqueezeNet 1\.1"),
    ],
)  # fmt: skip
def test_what_a_file_lacks_of_its_network_is_named(name: str, missing: str, title: str, tmp_path: Path) -> None:
    path = written(name, tmp_path / "weights.npz", **{missing.replace(".", "_in_"): None})
    with pytest.raises(FormatError, match=rf"lack '{missing}': {title} with LPIPS heads"):
        Lpips(path)


@pytest.mark.parametrize(
    ("name", "array", "shape"),
    [("vgg", "features.2.weight", (64, 64, 1, 1)), ("squeeze", "lpips.lin0.weight", (1, 128, 1, 1)),
     ("vgg", "lpips.lin3.weight", (512,))],
)  # fmt: skip
def test_arrays_of_another_network_are_named(name: str, array: str, shape: tuple, tmp_path: Path) -> None:
    path = written(name, tmp_path / "weights.npz", **{array.replace(".", "_in_"): np.zeros(shape, np.float32)})
    with pytest.raises(FormatError, match=rf"have '{array}' \[{', '.join(map(str, shape))}\], not \["):
        Lpips(path)
