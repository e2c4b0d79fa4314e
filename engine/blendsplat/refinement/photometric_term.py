# SPDX-License-Identifier: Apache-2.0
"""The solver's term for the picture: every visible sample must show its colour where the head puts it.

residual[f,i] = picture_f(pixel of sample i) - albedo[i] * shade[f,i] over three colours, in units of the sample's
noise, with Cauchy's loss. Only the picture's slope says how a residual changes with the pixel; three colours' slopes
make one 2 x 2 matrix a sample, whose Cholesky factor stands for them: two rows a sample, however many planes there are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from blendsplat.fitting.landmark_model import LandmarkModel, project_with_jacobian
from blendsplat.refinement.pictures import Pictures

CAUCHY = 2.5  # noises beyond which a sample stops counting fully


@dataclass
class PhotometricTerm:
    """Of B frames, which are ``numbers`` [B] among the F that are refined together."""

    model: LandmarkModel  # of N samples
    pictures: Pictures
    wanted: Tensor  # [F,N,3] the colour of each sample in each frame's light
    noise: Tensor  # [N]
    votes: Tensor  # [F,N] what a sample counts, 0 where it is not seen
    numbers: Tensor

    def frames(self, rows: Tensor | slice) -> PhotometricTerm:
        """The same for some of its frames."""
        return replace(self, numbers=self.numbers[rows])

    def rows(
        self, unknowns: Tensor, root: Tensor, focal: Tensor, centre: Tensor, eyes: Tensor, clip: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """See solver.ShapeTerm."""
        model = self.model if clip is None else self.model.shaped(clip)
        pixels, jacobian, by_clip = project_with_jacobian(model, unknowns, root, focal, centre, clip is not None)
        found, slopes, inside = look_up(self.pictures, self.numbers, pixels)
        votes = self.votes[self.numbers]
        away = (found - self.wanted[self.numbers]) / self.noise[:, None]
        ratio = away.square().mean(-1) / CAUCHY**2
        cost = (votes * CAUCHY**2 * torch.where(inside, torch.log1p(ratio), 1.0)).sum(1)
        weight = votes * inside / (1 + ratio) / 3
        factor, values = two_rows(away, slopes / self.noise[:, None, None], weight)

        def along(derivative: Tensor) -> Tensor:
            first, second = derivative.unbind(2)  # L' is two by two: a product by hand is several times quicker
            upper = factor[..., 0, :1] * first + factor[..., 1, :1] * second
            return torch.stack([upper, factor[..., 1, 1:] * second], 2).flatten(1, 2)

        return cost, values.flatten(1), along(jacobian), None if by_clip is None else along(by_clip)

    def missed(self, pixels: Tensor, tints: Tensor) -> Tensor:
        """[B,N]: squared misses at pixels [B,N,2] in units of CAUCHY noises, under lights of the colours tints [B,3];
        what is not there misses endlessly."""
        found, _, inside = look_up(self.pictures, self.numbers, pixels)
        away = (found - self.wanted[self.numbers] * tints[:, None]) / self.noise[:, None]
        return torch.where(inside, away.square().mean(-1) / CAUCHY**2, torch.inf)


def look_up(pictures: Pictures, numbers: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Colours [B,N,3] at the camera's pixels [B,N,2] in the frames ``numbers`` [B], their slopes by the pixel
    [B,N,3,2], and whether each lies inside of the picture and of the person's matte [B,N]."""
    planes = pictures.frames(numbers)
    height, width = planes.shape[2:]
    down, right = torch.gradient(planes[:, :3], dim=(2, 3))
    whole = torch.cat([planes, right, down], 1)
    size = torch.tensor([width, height], dtype=pixels.dtype)
    placed, scales = pictures.place(pixels, numbers)
    grid = placed / size * 2 - 1
    read = torch.nn.functional.grid_sample(whole, grid[:, :, None], padding_mode="border", align_corners=False)
    read = read[..., 0].transpose(1, 2)  # [B,N,10]
    slopes = torch.stack([read[..., 4:7], read[..., 7:]], -1) * scales[..., None]
    inside = (grid.abs() < 1).all(-1) & (read[..., 3] > 0.5)
    return read[..., :3], slopes, inside


def two_rows(away: Tensor, slopes: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Misses [B,N,3], slopes [B,N,3,2], weight [B,N] -> L [B,N,2,2] and values [B,N,2] with
    L L' = sum_c weight slope slope' and L values = sum_c weight slope miss."""
    matrix = torch.einsum("bncx,bncy->bnxy", slopes, slopes) * weight[..., None, None]
    force = torch.einsum("bncx,bnc->bnx", slopes, away) * weight[..., None]
    small = 1e-8 + 1e-4 * (matrix[..., 0, 0] + matrix[..., 1, 1])
    a = (matrix[..., 0, 0] + small).sqrt()
    b = matrix[..., 0, 1] / a
    c = (matrix[..., 1, 1] + small - b * b).clamp_min(1e-12).sqrt()
    first = force[..., 0] / a
    second = (force[..., 1] - b * first) / c
    factor = torch.stack([torch.stack([a, torch.zeros_like(a)], -1), torch.stack([b, c], -1)], -2)
    return factor, torch.stack([first, second], -1)
