# SPDX-License-Identifier: Apache-2.0
"""The rasterizers of surfaces, surfels and meshes: forward and with all gradients, 3D Gaussians of a scene beside."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from blendsplat.bench.plan import Plan
from blendsplat.bench.report import Row, Table, row
from blendsplat.bench.scene import head_scene, label
from blendsplat.heads.human import human_head
from blendsplat.splatting import rasterize_gaussians
from blendsplat.splatting.mesh import rasterize_mesh
from blendsplat.splatting.mesh_layers import render_mesh
from blendsplat.splatting.silhouettes import find_neighbours
from blendsplat.splatting.surfels import rasterize_surfels

SURFELS = (
    "Milliseconds an image of the head scene, through autograd. Surfels are the scene's Gaussians without their third "
    "axis and give depth and normals too; 3D Gaussians of the same scene are what a peer would be measured against."
)
MESH = (
    "Milliseconds an image of Blendsplat's own head, colours at its vertices. Faces: which face each pixel shows, and "
    "where on it; picture: colours, coverage antialiased at silhouettes, depth and normals. No renderer of meshes that "
    "runs on a CPU gives gradients at silhouettes, so nothing stands beside it."
)
DISTANCE = 1.0  # metres from the camera to the head
FILL = 0.7  # the head's height over the image's

Call = Callable[[], object]


def surfels(plan: Plan) -> list[Table]:
    """The head scene as surfels and as 3D Gaussians."""
    count, size, batch = plan.gaussians or 60_000, plan.size or 512, plan.batch or 1
    scene = head_scene(count, size, batch).to(plan.device)
    means, quats, scales, opacities, colors = (x.requires_grad_() for x in scene.gaussians.tensors())
    cameras = (scene.cameras.viewmats, scene.cameras.Ks, size, size)

    def flat() -> tuple[Tensor, ...]:
        return rasterize_surfels(means, quats, scales[..., :2], opacities, colors, *cameras)

    def solid() -> tuple[Tensor, ...]:
        return rasterize_gaussians(means, quats, scales, opacities, colors, *cameras)

    runs = {
        "surfels: forward": without_gradients(flat),
        "surfels: forward + backward": with_gradients(flat),
        "3D Gaussians: forward": without_gradients(solid),
        "3D Gaussians: forward + backward": with_gradients(solid),
    }
    return [Table("surfels", "Surfels", SURFELS, timed(plan, runs, f", {label(scene)}", batch))]


def mesh(plan: Plan) -> list[Table]:
    """Blendsplat's own head, from the front."""
    size, batch = plan.size or 512, plan.batch or 1
    head = human_head()
    faces = head.faces.to(plan.device, torch.int64)
    vertices = head.template.to(plan.device).expand(batch, -1, -1).clone().requires_grad_()
    colors = torch.rand(len(head.template), 3, generator=torch.Generator().manual_seed(1)).to(plan.device)
    colors.requires_grad_()
    viewmats, Ks = (x.expand(batch, -1, -1).contiguous().to(plan.device) for x in front_camera(head.template, size))
    neighbours = find_neighbours(faces)

    def picture() -> tuple[Tensor, ...]:
        return render_mesh(vertices, faces, colors, viewmats, Ks, size, size, neighbours=neighbours)[:4]

    runs: dict[str, Call] = {
        "faces": lambda: rasterize_mesh(vertices.detach(), faces, viewmats, Ks, size, size),
        "picture: forward": without_gradients(picture),
        "picture: forward + backward": with_gradients(picture),
    }
    label = f", {len(faces):,} faces at {size}x{size}" + (f", batch {batch}" if batch > 1 else "")
    return [Table("mesh", "Meshes", MESH, timed(plan, runs, label, batch))]


def front_camera(points: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """viewmat [4,4] and K [3,3] of a camera before points [V,3] (y up, face towards +z) that fill FILL of a picture."""
    low, high = points.min(0).values, points.max(0).values
    middle = (low + high) / 2
    flip = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    viewmat = torch.eye(4)
    viewmat[:3, :3] = flip
    viewmat[:3, 3] = torch.tensor([0.0, 0.0, DISTANCE]) - flip @ middle
    focal = FILL * size * DISTANCE / float((high - low).max())
    return viewmat, torch.tensor([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]])


def without_gradients(draw: Callable[[], tuple[Tensor, ...]]) -> Call:
    def run() -> None:
        with torch.no_grad():
            draw()

    return run


def with_gradients(draw: Callable[[], tuple[Tensor, ...]]) -> Call:
    """Draw, and send fixed random gradients of all that was drawn back to every leaf."""
    with torch.no_grad():
        planes = draw()
    generator = torch.Generator().manual_seed(2)
    grads = [torch.randn(plane.shape, generator=generator).to(plane.device) for plane in planes]

    def run() -> None:
        torch.autograd.backward(list(draw()), grads)

    return run


def timed(plan: Plan, runs: dict[str, Call], label: str, images: int) -> list[Row]:
    """A row per run and number of threads."""
    timings = plan.time(runs)
    return [row(name + label, threads, timings[name, threads].per(images)) for threads in plan.threads for name in runs]
