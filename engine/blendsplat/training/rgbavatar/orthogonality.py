# SPDX-License-Identifier: Apache-2.0
"""Whether learned blendshapes are orthogonal, and three ways to make them so (RGBAvatar, section 8.3).

A basis is all that it adds to the Gaussians as one vector: places, quaternions and colour features of all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_TINY = 1e-12
_DEPENDENT = 1e-5  # a basis of which orthogonalising leaves less than this part was a sum of those before it


def orthogonality(bases: Sequence[Tensor]) -> float:
    """The paper's measure (eq. 5): the Frobenius norm of B^T B - I, B's columns the K bases at unit length; 0 where all
    are perpendicular. bases: tensors [K,...] whose rows together are a basis; one that is still zero counts nothing.

    The formula is lost in the paper's text. Its figure for 20 bases, 3.173, would be a root mean square cosine of 0.16
    between two of them; three of our own trainings have 3.07, 3.69 and 4.12, where the sum of the absolute values is
    about 55, their mean 0.14 and the spectral norm about 2.
    """
    _, cosines = _cosines([part.detach().double() for part in bases])
    return float(cosines.square().sum().sqrt())


@torch.no_grad()
def add_gradients(bases: Sequence[Tensor], weight: float, grads: Sequence[Tensor]) -> None:
    """Add to ``grads``, shaped like ``bases`` and contiguous, the gradient of ``weight`` times the square of the
    measure (which, unlike the measure, has one where it is zero). Waits for no device."""
    lengths, cosines = _cosines(bases)
    pairs = 4 * cosines / (lengths[:, None] * lengths)
    own = (4 * cosines.square()).sum(1) / lengths.square()  # what keeps a basis' length out of it
    mix = weight * (pairs - torch.diag(own))
    for part, grad in zip(bases, grads, strict=True):
        grad.flatten(1).addmm_(mix, part.flatten(1))


@torch.no_grad()
def orthogonalise(bases: Sequence[Tensor], way: str) -> None:
    """Make the bases [K,...] perpendicular in place, each with what those before it leave of it.

    way "schmidt": Gram-Schmidt, a basis becomes shorter by what it shared with those before. "qr": the orthonormal
    columns of a QR decomposition, their signs and lengths those of the bases (the paper does not say which it gives
    them; of unit length they would no longer fit the weights). A basis that was a sum of those before it becomes zero.
    The MLP is left as it is, so the avatar changes and has to learn on: as far as the paper tells, its own does, too.
    """
    flat = torch.cat([part.flatten(1) for part in bases], 1).double()
    made = _schmidt(flat) if way == "schmidt" else _qr(flat)
    widths = [part[0].numel() for part in bases]
    for part, columns in zip(bases, made.split(widths, 1), strict=True):
        part.copy_(columns.reshape(part.shape))


def _cosines(bases: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """(lengths [K] of the bases, cosines [K,K] with zeros on the diagonal)."""
    flat = [part.flatten(1) for part in bases]
    gram = torch.stack([part @ part.T for part in flat]).sum(0)
    lengths = gram.diagonal().sqrt().clamp_min(_TINY)
    cosines = gram / (lengths[:, None] * lengths)
    return lengths, cosines - torch.diag(cosines.diagonal())


def _schmidt(flat: Tensor) -> Tensor:
    made = flat.clone()
    units = torch.zeros_like(flat)
    for row in range(len(flat)):
        for _ in range(2):  # once leaves what rounding made of a nearly dependent basis
            made[row] -= units[:row].T @ (units[:row] @ made[row])
        length, before = made[row].norm(), flat[row].norm()
        made[row] *= length > _DEPENDENT * before
        units[row] = made[row] / length.clamp_min(_TINY)
    return made


def _qr(flat: Tensor) -> Tensor:
    columns, upper = torch.linalg.qr(flat.T)
    lengths, along = flat.norm(dim=1), upper.diagonal()
    kept = torch.zeros_like(lengths)
    kept[: len(along)] = along.sign() * (along.abs() > _DEPENDENT * lengths[: len(along)]) * lengths[: len(along)]
    return kept[:, None] * torch.nn.functional.pad(columns.T, (0, 0, 0, len(flat) - len(columns.T)))
