# SPDX-License-Identifier: Apache-2.0
"""Run by the engine's Python: a DipGuava of a tiny clip, trained, and what the engine renders of it.

    python make_dipguava.py FOLDER

Leaves FOLDER/clip, FOLDER/dip.avatar.npz, FOLDER/foreign (another clip's performance) and FOLDER/dip.npz: of the frames
``rows`` the pictures ``sliders``, ``full``, ``base``, ``residual`` and, of the other performance, ``foreign``.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from blendsplat.avatars.avatar import Avatar
from blendsplat.avatars.rendering import fitted_intrinsics, render_gaussians, render_performance
from blendsplat.heads import load
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance
from blendsplat.systems import load_avatar, make_preset, train_avatar
from tiny_clip import tiny_head, tiny_tracking, write_tiny_clip

ROWS = (0, 5, 11)
SIZE = 96
VALUES = {
    "system": "dipguava", "image_size": 32, "images": 120, "stage_images": 60, "batch": 4, "decay_images": 0,
    "rate": 1e-3, "residual_rate": 2e-3, "position_rate": 1e-2, "scale_rate": 1e-2, "lpips_weight": 0.0,
    "densify_every": 0,
    "avatar": {"uv_size": 16, "unet_width": 8, "mlp_width": 16, "mlp_layers": 2, "frequencies": 2, "texture_size": 16},
}  # fmt: skip


def posed_head() -> HeadModel:
    """The tiny head with a jaw, and correctives that its bones drive."""
    head = tiny_head()
    weights = torch.zeros_like(head.skin_weights)
    weights[:, 2] = torch.linspace(0, 0.6, len(weights))
    weights[:, 1] = 1 - weights[:, 2]
    correctives = 0.01 * torch.randn(head.pose_directions.shape, generator=torch.Generator().manual_seed(3))
    return replace(head, skin_weights=weights, pose_directions=correctives)


def foreign_performance(head: HeadModel) -> Performance:
    """Another clip's: farther expressions than the avatar's own, a jaw that opens, a head that moves as a whole."""
    played = tiny_tracking(head, 16, seed=8)
    time = np.arange(16)[:, None] / 8
    return replace(
        played, expression=3 * played.expression,
        jaw_pose=(0.2 * np.sin(time * [2.0, 0.5, 0.3])).astype(np.float32),
        root_pose=(0.2 * np.sin(time * [0.5, 1.0, 0.4])).astype(np.float32),
        translation=(0.02 * np.sin(time * [1.0, 0.7, 0.4]) + [0.1, 0, 0]).astype(np.float32),
    )  # fmt: skip


@torch.no_grad()
def seen_by_own_camera(avatar: Avatar, performance: Performance) -> np.ndarray:
    """Frames [F,H,W,4] of another clip's performance, from where the avatar's own was filmed."""
    camera = avatar.camera
    K = fitted_intrinsics(camera.K, (camera.width, camera.height), (SIZE, SIZE))
    gaussians = avatar.drive(avatar.adopted(performance).params(), bounded=True)
    image, alpha, _ = render_gaussians(gaussians, camera.viewmat, K, SIZE, SIZE)
    return torch.cat([image, alpha], -1).numpy()


def make(folder: Path) -> None:
    head = posed_head()
    load.load_head = lambda source, **_: head
    performance = write_tiny_clip(folder / "clip", head=head)
    train_avatar(folder / "clip", make_preset(VALUES), folder / "dip.avatar.npz")
    avatar = load_avatar(folder / "dip.avatar.npz")
    avatar.hold(1.0)  # as Blender and "blendsplat render" do
    pictures = {}
    for view in avatar.views:
        avatar.show(view)
        frames = [rgba for rgba, _ in render_performance(avatar, performance, SIZE, SIZE)]
        pictures[view] = np.stack([frames[row] for row in ROWS])
    other = foreign_performance(head)
    (folder / "foreign").mkdir()
    other.save(folder / "foreign" / "tracking.npz")
    avatar.show("full")
    pictures["foreign"] = seen_by_own_camera(avatar, other)[list(ROWS)]
    np.savez(folder / "dip.npz", rows=ROWS, **pictures)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
