# SPDX-License-Identifier: Apache-2.0
"""A tiny head, a tiny avatar with known colours and blendshapes, and the clip it renders: a truth to learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from blendsplat.avatars.avatar import TrainingCamera
from blendsplat.avatars.rendering import render_gaussians
from blendsplat.avatars.rgbavatar.model import RGBAvatar
from blendsplat.files import write_json
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance, frame_intrinsics
from blendsplat.video.clip import ClipInfo, encode_png, frame_path, write_info

SIZE = 32


def tiny_head(rows: int = 6, columns: int = 8, expressions: int = 3) -> HeadModel:
    """A bent sheet that faces +z, 24 cm wide, with smooth expression directions."""
    rng = np.random.default_rng(5)
    u, v = np.meshgrid(np.linspace(0, 1, columns), np.linspace(0, 1, rows))
    x, y = 0.24 * (u - 0.5), 0.24 * (v - 0.5)
    template = torch.tensor(np.stack([x, y, 0.06 - 3 * x**2 - 2 * y**2], -1).reshape(-1, 3), dtype=torch.float32)
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).reshape(-1, 1)
    quads = corner + np.array([0, 1, columns + 1, columns])
    faces = torch.from_numpy(np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]))
    count = len(template)
    directions = [np.sin(3 * u + i) * np.cos(2 * v + i) for i in range(expressions)]
    expression = torch.tensor(np.stack(directions).reshape(-1, count, 1) * rng.normal(size=(expressions, 1, 3)) / 100)
    weights = torch.zeros(count, 5)
    weights[:, 1] = 1
    return HeadModel(
        name="tiny", template=template, faces=faces,
        uvs=torch.tensor(np.stack([0.05 + 0.9 * u, 0.05 + 0.9 * v], -1).reshape(-1, 2), dtype=torch.float32),
        uv_faces=faces.clone(), shape_directions=torch.zeros(2, count, 3),
        expression_directions=expression.float(),
        expression_names=tuple(f"expression{i}" for i in range(expressions)),
        eyelid_directions=torch.zeros(2, count, 3), pose_directions=torch.zeros(36, count, 3),
        joints=torch.zeros(5, 3), joint_shape_directions=torch.zeros(2, 5, 3),
        joint_expression_directions=torch.zeros(expressions, 5, 3), skin_weights=weights,
    )  # fmt: skip


def tiny_camera(size: int = SIZE) -> TrainingCamera:
    """A metre in front of the head, which fills most of the picture."""
    K = torch.tensor([[3.2 * size, 0, size / 2], [0, 3.2 * size, size / 2], [0, 0, 1.0]])
    viewmat = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
    viewmat[2, 3] = 1.0
    return TrainingCamera(K, viewmat, size, size)


def tiny_tracking(head: HeadModel, frames: int, size: int = SIZE, seed: int = 0) -> Performance:
    """Smooth random expressions and small head turns."""
    rng = np.random.default_rng(seed)
    time = np.arange(frames)[:, None] / 8
    expression = np.sin(time * rng.uniform(1, 3, head.expression_count) + rng.uniform(0, 6, head.expression_count))
    camera, zeros = tiny_camera(size), np.zeros((frames, 3), np.float32)
    return Performance(
        head=head.name, head_source="tiny", width=size, height=size, timestamps=np.arange(frames) / 25.0,
        valid=np.ones(frames, bool), shape=np.zeros(head.shape_count, np.float32),
        vertex_offsets=np.zeros((head.vertex_count, 3), np.float32), expression=expression.astype(np.float32),
        root_pose=zeros, neck_pose=(0.15 * np.sin(time * [1.0, 1.7, 0.6])).astype(np.float32), jaw_pose=zeros,
        eyes_pose=np.zeros((frames, 2, 3), np.float32), eyelids=np.zeros((frames, 2), np.float32), translation=zeros,
        K=camera.K.numpy(), viewmat=camera.viewmat.numpy(), expression_names=head.expression_names,
        head_model=head.model_id, head_family=head.family,
    )  # fmt: skip


def tiny_avatar(head: HeadModel, resolution: int = 12, blendshapes: int = 3, seed: int = 1) -> RGBAvatar:
    """An avatar with random colours and blendshapes; ``head`` may still have shape parameters."""
    torch.manual_seed(seed)
    personal = head.personalise(torch.zeros(head.shape_count))
    avatar = RGBAvatar.on_head(
        personal, resolution, tiny_camera(), blendshapes=blendshapes, hidden=(16, 12), name="truth"
    )
    with torch.no_grad():
        avatar.colors.copy_(torch.rand(avatar.gaussian_count, 3) * 3 - 1.2)
        avatar.log_scales.fill_(float(np.log(0.24 / resolution * 0.6)))
        avatar.opacity_logits.fill_(2.0)
        for name, scale in (("delta_positions", 2e-3), ("delta_quats", 0.05), ("delta_colors", 0.3)):
            getattr(avatar, name).normal_(0, scale)
    return avatar


@torch.no_grad()
def write_tiny_clip(
    directory: Path, frames: int = 16, size: int = SIZE, head: HeadModel | None = None, zoom: np.ndarray | None = None
) -> Performance:
    """Write a tracked clip folder that tiny_avatar renders; the picture's background is grey, mattes are soft. zoom
    [F]: of its lens."""
    head = head or tiny_head()
    tracking, avatar, camera = tiny_tracking(head, frames, size), tiny_avatar(head), tiny_camera(size)
    if zoom is not None:
        tracking.zoom = zoom
    Ks = torch.as_tensor(frame_intrinsics(tracking))
    for folder in ("images", "mattes"):
        (directory / folder).mkdir(parents=True, exist_ok=True)
    for index in range(frames):
        gaussians = avatar.drive(tracking.params()[[index]])
        image, alpha, _ = render_gaussians(gaussians, camera.viewmat, Ks[index], size, size)
        straight = (image / alpha.clamp_min(1e-3))[0].clamp(0, 1)
        frame = straight * alpha[0] + 0.5 * (1 - alpha[0])
        # the picture holds the pure colour inside the matte, as a decoded video does away from the border
        shown = torch.where(alpha[0] > 0.02, straight, frame)
        for folder, picture in (("images", shown), ("mattes", alpha[0, ..., 0])):
            frame_path(directory, folder, index).write_bytes(encode_png((picture * 255 + 0.5).to(torch.uint8).numpy()))
    tracking.save(directory / "tracking.npz")
    write_json(directory / "camera.json", {"width": size, "height": size})
    times = tracking.timestamps.tolist()
    write_info(directory, ClipInfo("tiny", (size, size), 0.0, None, (0, 0, size), size, size, 25.0, times, "alpha"))
    return tracking
