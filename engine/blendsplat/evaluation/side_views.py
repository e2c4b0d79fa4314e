# SPDX-License-Identifier: Apache-2.0
"""An avatar looked at from where its clip's camera never stood: holes in the head, and floaters around it.

There is no picture to compare with, but there is the head's mesh: inside its silhouette an avatar has to be opaque, and
far outside it there should be nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from blendsplat.avatars.avatar import TrainingCamera
from blendsplat.avatars.rendering import render_gaussians
from blendsplat.heads.model import HeadModel
from blendsplat.splatting import rasterize_mesh
from blendsplat.splatting.scene import Gaussians

VIEWS = {
    "from_left": 45.0,
    "from_front": 0.0,
    "from_right": -45.0,
}  # degrees about the head's up axis; the person's left
SIDE = 384  # pixels
ROOM = 1.25  # radii of the head that fit into the picture: room for hair
OPAQUE = 0.9  # alpha below which there is a hole
BEHIND = 0.03  # metres behind the mesh, on the average, from which on the head is seen through
EDGE = 0.004  # metres inside its border that the silhouette is looked at: the border itself is soft
HAIR = 0.06  # metres around the silhouette that may be hair
FRINGE = (0.004, 0.02)  # metres outside the bare face's profile between which there should be nothing
BROWS = 0.35  # distances between the eyes above them, to where a face is bare
_NOT_BARE = ("scalp", "neck", "left_ear", "right_ear")


@dataclass(frozen=True)
class SideView:
    """One view. image float [S,S,3] on black and alpha [S,S]; surface int [S,S]: the mesh's face, -1 none; holes and
    floaters bool [S,S]; share_of_holes: of the head's silhouette without its neck; share_of_floaters: what alpha there
    is farther than HAIR outside, over the silhouette's pixels; fringe: the
    mean alpha in a band (FRINGE) along the bare face's profile, None where there is none."""

    name: str
    image: np.ndarray
    alpha: np.ndarray
    surface: np.ndarray
    holes: np.ndarray
    floaters: np.ndarray
    share_of_holes: float
    share_of_floaters: float
    fringe: float | None


@torch.no_grad()
def side_views(
    gaussians: Gaussians, vertices: torch.Tensor, faces: torch.Tensor, rotation: torch.Tensor, camera: TrainingCamera,
    neck: np.ndarray | None = None, bare: np.ndarray | None = None,
) -> list[SideView]:  # fmt: skip
    """Look at one frame's Gaussians (one row each) from VIEWS, from as far as the clip's camera is.

    vertices [V,3] and faces [F,3]: the head's posed mesh; rotation [3,3]: the head's in the world; neck: vertices of
    the neck, below which clips end and where nothing is counted; bare: vertices of the face where no hair hangs.
    """
    counted = torch.ones(len(vertices), dtype=torch.bool, device=vertices.device)
    if neck is not None:
        counted[torch.as_tensor(neck, device=vertices.device)] = False
    solid = counted[faces.to(vertices.device)].all(1)
    skin = torch.zeros_like(counted)
    skin[torch.as_tensor(bare if bare is not None else [], dtype=torch.long, device=vertices.device)] = True
    profile = skin[faces.to(vertices.device)].all(1)
    head = vertices[counted] if bool(counted.any()) else vertices
    centre = (head.amin(0) + head.amax(0)) / 2
    radius = float((head - centre).norm(dim=1).max())
    eye = -camera.viewmat[:3, :3].T @ camera.viewmat[:3, 3]
    distance = max(float((eye.to(centre) - centre).norm()), 2 * radius)
    return [
        _view(name, gaussians, vertices, faces, solid, profile, camera_at(centre, rotation, angle, distance, radius))
        for name, angle in VIEWS.items()
    ]


def bare_face(head: HeadModel) -> np.ndarray | None:
    """Vertices of a head's face without ears, scalp and neck, from the brows down; None where it does not say."""
    if "face" not in head.regions:
        return None
    chosen = np.zeros(head.vertex_count, bool)
    chosen[head.regions["face"]] = True
    for name in _NOT_BARE:
        chosen[head.regions.get(name, np.zeros(0, np.int64))] = False
    eyes, height = head.joints[3:].cpu().numpy(), head.template[:, 1].cpu().numpy()
    chosen &= height < eyes[:, 1].mean() + BROWS * np.linalg.norm(eyes[0] - eyes[1])
    return np.flatnonzero(chosen)


def camera_at(
    centre: torch.Tensor, rotation: torch.Tensor, degrees: float, distance: float, radius: float, side: int = SIDE
) -> TrainingCamera:
    """A camera ``distance`` metres from ``centre`` [3] on the level of a head with ``rotation`` [3,3], turned by
    ``degrees`` to the person's left, in whose square picture a ball of ``radius`` times ROOM just fits."""
    angle = torch.deg2rad(torch.tensor(degrees))
    rotation = rotation.to(centre)
    towards = rotation @ torch.stack([angle.sin(), torch.zeros(()), angle.cos()]).to(centre)
    forward, down = -towards, -rotation[:, 1]
    axes = torch.stack([torch.linalg.cross(down, forward), down, forward])
    viewmat = torch.eye(4, dtype=torch.float32, device=centre.device)
    viewmat[:3, :3] = axes
    viewmat[:3, 3] = -axes @ (centre + distance * towards)
    reach = ROOM * radius
    focal = side / 2 * float(np.sqrt(max(distance**2 - reach**2, (0.5 * reach) ** 2))) / reach
    K = torch.tensor([[focal, 0, side / 2], [0, focal, side / 2], [0, 0, 1]], device=centre.device)
    return TrainingCamera(K, viewmat, side, side)


def _view(
    name: str, gaussians: Gaussians, vertices: torch.Tensor, faces: torch.Tensor, solid: torch.Tensor,
    profile: torch.Tensor, camera: TrainingCamera,
) -> SideView:  # fmt: skip
    viewmat, K, size = camera.viewmat, camera.K, (camera.width, camera.height)
    image, alpha, depth = (plane[0].cpu().numpy() for plane in render_gaussians(gaussians, viewmat, K, *size))
    drawn = rasterize_mesh(vertices[None].float(), faces.to(torch.int32), viewmat[None], K[None], *size)
    surface, mesh_depth = drawn[0][0].cpu().numpy(), drawn[2][0].cpu().numpy()
    alpha, depth = alpha[..., 0], depth[..., 0]
    pixels_a_metre = float(K[0, 0] / (vertices.mean(0) @ viewmat[2, :3] + viewmat[2, 3]))
    head = surface >= 0
    inside = head & solid.cpu().numpy()[surface.clip(0)]
    inside = _distance(inside) > EDGE * pixels_a_metre
    seen_through = depth > alpha * (mesh_depth + BEHIND)
    holes = inside & ((alpha < OPAQUE) | seen_through)
    floaters = (_distance(~head) > HAIR * pixels_a_metre) & (alpha > 1 - OPAQUE)
    fringe = _fringe(alpha, surface, profile.cpu().numpy(), pixels_a_metre)
    total = max(int(head.sum()), 1)
    share = float(holes.sum() / inside.sum()) if inside.any() else 0.0
    return SideView(name, image, alpha, surface, holes, floaters, share, float(alpha[floaters].sum() / total), fringe)


def _fringe(alpha: np.ndarray, surface: np.ndarray, profile: np.ndarray, pixels_a_metre: float) -> float | None:
    """Mean alpha [H,W] of the pixels in FRINGE whose nearest one of the head shows a face (surface [H,W]) of the
    ``profile`` [F] bool."""
    head = surface >= 0
    if head.all() or not head.any():
        return None
    away, labels = cv2.distanceTransformWithLabels(
        (~head).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    shows = np.zeros(int(labels.max()) + 1, bool)
    shows[labels[head]] = profile[surface[head]]
    near, far = (metres * pixels_a_metre for metres in FRINGE)
    band = ~head & (away > near) & (away < far) & shows[labels]
    return float(alpha[band].mean()) if band.any() else None


def _distance(inside: np.ndarray) -> np.ndarray:
    """Pixels [H,W] from each pixel that is ``inside`` to the nearest that is not; the picture's border is none."""
    if inside.all():
        return np.full(inside.shape, np.inf, np.float32)
    found: np.ndarray = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 5)
    return found
