# SPDX-License-Identifier: Apache-2.0
"""The seeded head scene that splatting peers are measured on, and how much work any rasterizer has with a scene.

The counts are computed here in float64, apart from the kernels, so that floors do not depend on what is measured.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from blendsplat.splatting.reference import ALPHA_MAX, ALPHA_MIN, STOP, project_reference
from blendsplat.splatting.scene import Cameras, Gaussians, Scene

SEED = 20240607
RADII = np.array([0.09, 0.12, 0.10])  # metres: half width, height and depth of the head
DISTANCE = 1.0  # metres from the camera to its centre
FILL = 0.70  # height of the silhouette over the image's height
MEDIAN_SCALES = np.array([0.8e-3, 0.8e-3, 0.3e-3])  # metres at REFERENCE_COUNT Gaussians, the last along the normal
REFERENCE_COUNT = 60_000
EVALUATION_TILE = 4  # pixels: evaluating whole 4x4 blocks that an ellipse touches is the least a vector machine does


def label(scene: Scene) -> str:
    """A scene's size in words."""
    batch = f", batch {scene.images}" if scene.images > 1 else ""
    return f"{scene.count:,} at {scene.width}x{scene.height}{batch}"


def head_scene(gaussians: int = 60_000, size: int = 512, images: int = 1) -> Scene:
    """Gaussians spread evenly over an ellipsoid of a head's size, flat along its normals, seen by one camera.

    Scales grow with sqrt(60,000 / N), so that the surface is covered alike. A batch holds the same head turned by a
    tenth of a radian from image to image (the first image is the scene itself).
    """
    if gaussians < 1 or size < 1 or images < 1:
        raise ValueError(
            f"the head scene needs at least 1 Gaussian, pixel and image, got {gaussians}, {size}, {images}"
        )
    rng = np.random.Generator(np.random.PCG64(SEED))
    directions = _area_uniform_directions(rng, gaussians)
    means = directions * RADII
    normals = _unit(directions / RADII)
    tangents = rng.standard_normal((gaussians, 3))
    tangents = _unit(tangents - normals * (tangents * normals).sum(1, keepdims=True))
    axes = np.stack([tangents, np.cross(normals, tangents), normals], axis=2)
    scales = MEDIAN_SCALES * np.sqrt(REFERENCE_COUNT / gaussians) * np.exp(0.35 * rng.standard_normal((gaussians, 3)))
    opacities = rng.uniform(0.3, 0.95, gaussians)
    colors = _smooth_colors(rng, means)

    half_height = RADII[1] / np.sqrt(DISTANCE**2 - RADII[2] ** 2)  # slope of the rays that touch the ellipsoid
    focal = 0.5 * FILL * size / half_height
    K = torch.tensor([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]], dtype=torch.float32)
    viewmats = torch.stack([_turned(0.1 * image) for image in range(images)])

    def batched(values: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(values, np.float32))
        return tensor.expand(images, *tensor.shape).contiguous()

    drawn = (means, _quats_of(axes), scales, opacities, colors)
    cameras = Cameras(viewmats, K.expand(images, 3, 3).contiguous(), size, size)
    return Scene(Gaussians(*(batched(values) for values in drawn)), cameras)


@dataclass(frozen=True)
class Work:
    """What the images of a scene hold in all. A tile is touched when its pixels' centres may be under the ellipse."""

    square_tiles: int  # (Gaussian, 16x16 tile) pairs by the published three-sigma square
    exact_tiles: int  # the same by the exact test of the ellipse on which alpha is 1/255
    blocks: int  # (Gaussian, 4x4 block) pairs by the exact test

    @property
    def evaluated(self) -> int:
        """(Gaussian, pixel) pairs that are evaluated when whole 4x4 blocks are."""
        return self.blocks * EVALUATION_TILE**2


def work_of(scene: Scene) -> Work:
    """Count the scene's intersections."""
    counts = np.zeros(3, np.int64)
    for image in range(scene.images):
        ellipses = _ellipses(scene, image)
        exact, blocks = (_exact_tiles(ellipses, scene, tile)[0] for tile in (16, EVALUATION_TILE))
        counts += (_square_tiles(ellipses, scene, 16), len(exact), len(blocks))
    return Work(*(int(count) for count in counts))


def contributing_pairs(scene: Scene) -> int:
    """(Gaussian, pixel) pairs that change the picture: alpha of at least 1/255, and the pixel not yet full."""
    return sum(_contributing(_ellipses(scene, image), scene, image) for image in range(scene.images))


def _area_uniform_directions(rng: np.random.Generator, count: int) -> np.ndarray:
    """Points of the unit sphere [count,3] that lie evenly by area once the sphere is stretched by RADII."""
    points = np.empty((0, 3))
    while len(points) < count:
        candidates = _unit(rng.standard_normal((2 * count, 3)))
        stretch = np.linalg.norm(candidates / RADII, axis=1) * RADII.min()  # area per solid angle, at most 1
        points = np.concatenate([points, candidates[rng.random(2 * count) < stretch]])
    return points[:count]


def _smooth_colors(rng: np.random.Generator, means: np.ndarray) -> np.ndarray:
    """[N,3] in 0.02 .. 0.98: per channel six waves through space, 3 to 12 cm long."""
    waves = _unit(rng.standard_normal((3, 6, 3))) * 2 * np.pi / rng.uniform(0.03, 0.12, (3, 6, 1))
    phases = rng.uniform(0, 2 * np.pi, (3, 6))
    heights = np.sin(np.einsum("nd,cwd->ncw", means, waves) + phases).mean(2)
    return np.clip(0.5 + 0.72 * heights, 0.02, 0.98)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _quats_of(rotations: np.ndarray) -> np.ndarray:
    """[N,3,3] -> unit quaternions [N,4] wxyz: the dominant eigenvector of Bar-Itzhack's symmetric 4x4 matrix."""
    r = rotations
    m = np.empty((len(r), 4, 4))
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        m[:, i + 1, i + 1] = r[:, i, i] - r[:, j, j] - r[:, k, k]
        m[:, 0, i + 1] = m[:, i + 1, 0] = r[:, k, j] - r[:, j, k]
        m[:, i + 1, j + 1] = m[:, j + 1, i + 1] = r[:, i, j] + r[:, j, i]
    m[:, 0, 0] = np.trace(r, axis1=1, axis2=2)
    return np.linalg.eigh(m)[1][:, :, -1]


def _turned(angle: float) -> Tensor:
    """viewmat [4,4] of a camera before the head, which is turned about its vertical axis."""
    c, s = np.cos(angle), np.sin(angle)
    return torch.tensor([[c, 0, s, 0], [0, 1, 0, 0], [-s, 0, c, DISTANCE], [0, 0, 0, 1]], dtype=torch.float32)


@dataclass(frozen=True)
class _Ellipses:
    """Where alpha is at least 1/255: (p - centre)^T conic (p - centre) <= level; float64."""

    centres: np.ndarray  # [N,2] pixels
    covariances: np.ndarray  # [N,2,2]
    conics: np.ndarray  # [N,2,2]
    levels: np.ndarray  # [N]; negative: too faint to be seen


def _ellipses(scene: Scene, image: int) -> _Ellipses:
    tensors = (*scene.gaussians.tensors(), scene.cameras.viewmats, scene.cameras.Ks)
    means, quats, scales, opacities, _, viewmat, K = (t[image].cpu().double() for t in tensors)
    centres, covariances, z = project_reference(means, quats, scales, viewmat, K, scene.width, scene.height)
    levels = torch.where((z > 0) & (opacities > 0), 2 * (opacities.clamp_min(1e-30) / ALPHA_MIN).log(), -1.0)
    return _Ellipses(*(t.numpy() for t in (centres, covariances, covariances.inverse(), levels)))


def _square_tiles(ellipses: _Ellipses, scene: Scene, tile: int) -> int:
    """Tiles under the square of half a side ceil(3 sigma), sigma as Kerbl et al. (2023) bound it from below."""
    middle = np.trace(ellipses.covariances, axis1=1, axis2=2) / 2
    larger = middle + np.sqrt(np.maximum(0.1, middle**2 - np.linalg.det(ellipses.covariances)))
    half = np.ceil(3 * np.sqrt(larger))[:, None]
    grid = -(-np.array([scene.width, scene.height]) // tile)
    low = np.clip(np.floor((ellipses.centres - half) / tile), 0, grid)
    high = np.clip(np.ceil((ellipses.centres + half) / tile), 0, grid)
    return int((high - low).prod(1)[ellipses.levels >= 0].sum())


def _exact_tiles(ellipses: _Ellipses, scene: Scene, tile: int) -> tuple[np.ndarray, np.ndarray]:
    """(Gaussian, tile corner in pixels [M,2]) of every tile that an ellipse touches."""
    grid = -(-np.array([scene.width, scene.height]) // tile)
    half = np.sqrt(np.maximum(ellipses.levels, 0)[:, None] * np.diagonal(ellipses.covariances, axis1=1, axis2=2))
    low = np.clip(np.floor((ellipses.centres - half) / tile), 0, grid).astype(np.int64)
    high = np.clip(np.floor((ellipses.centres + half) / tile) + 1, 0, grid).astype(np.int64)
    spans = np.where(ellipses.levels[:, None] >= 0, np.maximum(high - low, 0), 0)
    counts = spans.prod(1)
    owner = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    corner = (low[owner] + np.stack([place % spans[owner, 0], place // spans[owner, 0]], 1)) * tile
    touched = _touches(ellipses, owner, corner, tile)
    return owner[touched], corner[touched]


def _touches(ellipses: _Ellipses, owner: np.ndarray, corner: np.ndarray, tile: int) -> np.ndarray:
    """Whether the squares of the tiles' pixel centres meet their ellipses: the form's minimum on the square against the
    level. Unless the ellipse's centre is inside it lies on an edge, where the form is a parabola."""
    conic, start = ellipses.conics[owner], corner + 0.5 - ellipses.centres[owner]
    end = start + tile - 1
    lowest = np.full(len(owner), np.inf)
    for axis in (0, 1):
        other = 1 - axis
        for edge in (start[:, axis], end[:, axis]):
            best = np.clip(-conic[:, 0, 1] * edge / conic[:, other, other], start[:, other], end[:, other])
            form = conic[:, axis, axis] * edge**2 + 2 * conic[:, 0, 1] * edge * best + conic[:, other, other] * best**2
            lowest = np.minimum(lowest, form)
    inside = ((start <= 0) & (end >= 0)).all(1)
    return inside | (lowest <= ellipses.levels[owner])


def _contributing(ellipses: _Ellipses, scene: Scene, image: int) -> int:
    owner, corner = _exact_tiles(ellipses, scene, EVALUATION_TILE)
    viewmat = scene.cameras.viewmats[image]
    z = (scene.gaussians.means[image] @ viewmat[2, :3] + viewmat[2, 3]).cpu().numpy()
    order = np.lexsort((z[owner], corner[:, 0], corner[:, 1]))  # blocks one after the other, each front to back
    owner, corner = owner[order], corner[order]
    starts = np.flatnonzero(np.append(len(owner) > 0, (corner[1:] != corner[:-1]).any(1))[: len(owner)])
    conic, level = ellipses.conics[owner], ellipses.levels[owner]
    count = 0
    for place in np.ndindex(EVALUATION_TILE, EVALUATION_TILE):
        pixel = corner + place
        x, y = (pixel + 0.5 - ellipses.centres[owner]).T
        form = conic[:, 0, 0] * x**2 + 2 * conic[:, 0, 1] * x * y + conic[:, 1, 1] * y**2
        drawn = (form <= level) & (pixel < (scene.width, scene.height)).all(1)
        alpha = np.where(drawn, np.minimum(ALPHA_MIN * np.exp((level - form) / 2), ALPHA_MAX), 0.0)
        sums = np.cumsum(np.log1p(-alpha))
        left = sums - np.repeat(np.append(0.0, sums)[starts], np.diff(np.append(starts, len(sums))))
        count += int((drawn & (left >= np.log(STOP))).sum())
    return count
