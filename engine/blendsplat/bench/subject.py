# SPDX-License-Identifier: Apache-2.0
"""A real avatar for the benchmarks: the user's file, or one trained for seconds on a made-up performance.

The performance is synthetic, drawn without video and without tracking: nothing but the trainer is in the way.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from blendsplat.avatars.avatar import Avatar, Gaussians, TrainingCamera
from blendsplat.bench.bind import halved_copy
from blendsplat.bench.plan import Plan
from blendsplat.heads.human import human_head
from blendsplat.heads.human.appearance import head_texture
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance
from blendsplat.heads.render import render_head
from blendsplat.splatting.scene import Cameras, Scene
from blendsplat.synthetic.clip import DISTANCE, FIELD_OF_VIEW, FPS, clip_identity
from blendsplat.synthetic.performance import talking_performance
from blendsplat.systems import load_avatar, load_preset
from blendsplat.training.frame_store import FrameStore
from blendsplat.training.rgbavatar.preset import RGBAvatarPreset
from blendsplat.training.rgbavatar.trainer import RGBAvatarTrainer

UV, SIZE, BATCH = 256, 512, 10  # as the paper trains
FRAMES = 20
TRAINED_IMAGES = 160
IDENTITY_SEED = 3


@dataclass(frozen=True)
class Subject:
    """A person to train on: the own head, the camera, frames with their parameters."""

    head: HeadModel
    camera: TrainingCamera
    frames: FrameStore


@lru_cache(maxsize=2)
def subject(size: int, count: int = FRAMES) -> Subject:
    """``count`` frames of Blendsplat's own head with an identity, drawn at size x size on the CPU."""
    head = human_head()
    head = head.personalise(clip_identity(head, IDENTITY_SEED)[0])
    params = talking_performance(head, count, FPS)
    focal = size / 2 / np.tan(FIELD_OF_VIEW / 2)
    K = torch.tensor([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]], dtype=torch.float32)
    viewmat = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
    viewmat[:3, 3] = torch.tensor([0, -0.02, DISTANCE])
    texture = torch.tensor(head_texture(size=512))
    planes = []
    for row in range(count):
        vertices = head(params[[row]])
        planes.append(render_head(head, vertices, texture, viewmat[None], K[None], size, size, supersample=1))
    rgba = (torch.cat(planes).clamp(0, 1) * 255 + 0.5).to(torch.uint8)
    frames = FrameStore(count, size, size, params)
    frames.add(range(count), torch.cat([rgba, torch.full_like(rgba[..., :1], 255)], -1), params)
    return Subject(head, TrainingCamera(K, viewmat, size, size), frames)


def new_trainer(plan: Plan, images: int = 10**6, **changes: object) -> RGBAvatarTrainer:
    """The paper's training (its preset) of the subject, blendshapes from the first step. changes: preset values."""
    person = subject(plan.size or SIZE)
    overrides = {
        "blendshapes_after": 0, "image_size": plan.size or SIZE, "uv_resolution": plan.uv or UV,
        "batch": plan.batch or BATCH, "images": images, **changes,
    }  # fmt: skip
    frames = person.frames
    on_device = frames.to(plan.device)
    preset = load_preset("rgbavatar", overrides)
    assert isinstance(preset, RGBAvatarPreset)
    return RGBAvatarTrainer(person.head, person.camera, on_device, preset, device=plan.device)


def real_avatar(plan: Plan) -> tuple[str, Avatar, Performance]:
    """(what it is, the avatar, a performance for it)."""
    if plan.avatar is None:
        return _trained_avatar(str(plan.device), plan.size or SIZE, plan.uv or UV)
    avatar = load_avatar(plan.avatar, plan.device)
    return f"avatar {avatar.name}", avatar, _performance(avatar)


@lru_cache(maxsize=1)
def _trained_avatar(device: str, size: int, uv: int) -> tuple[str, Avatar, Performance]:
    trainer = new_trainer(Plan(torch.device(device), size=size, uv=uv, batch=4), TRAINED_IMAGES)
    while not trainer.done:
        trainer.step()
    avatar = halved_copy(trainer.avatar)  # with the Gaussians that no frame showed: the full number
    return f"avatar trained on {TRAINED_IMAGES} images", avatar, _performance(avatar)


def avatar_scene(plan: Plan) -> tuple[str, Scene]:
    """(what it is, frames of the real avatar as a scene), at --batch and --size or as it was trained."""
    name, avatar, tracking = real_avatar(plan)
    images = plan.batch or 1
    rows = torch.arange(images) * 3 % tracking.frame_count
    with torch.no_grad():
        gaussians = avatar.drive(tracking.params(plan.device)[rows.to(plan.device)])
    return name, scene_of(gaussians, avatar.camera)


def scene_of(gaussians: Gaussians, camera: TrainingCamera) -> Scene:
    """Frames of an avatar as a scene."""
    images, bound = gaussians.means.shape[0], gaussians.detach()
    views, intrinsics = camera.viewmat.expand(images, 4, 4).contiguous(), camera.K.expand(images, 3, 3).contiguous()
    return Scene(
        Gaussians(*(tensor.contiguous() for tensor in bound.tensors())),
        Cameras(views, intrinsics, camera.width, camera.height),
    )


def _performance(avatar: Avatar) -> Performance:
    """The synthetic performance as if it had been tracked with the avatar's head, before its own camera."""
    params, camera = talking_performance(avatar.head, FRAMES, FPS), avatar.camera
    arrays = {
        name: getattr(params, name).cpu().numpy()
        for name in ("expression", "root_pose", "neck_pose", "jaw_pose", "eyes_pose", "eyelids", "translation")
    }
    return Performance(
        head=avatar.head.name, head_source=avatar.head.name, width=camera.width, height=camera.height,
        timestamps=np.arange(FRAMES) / FPS, valid=np.ones(FRAMES, bool), shape=np.zeros(0, np.float32),
        vertex_offsets=np.zeros((avatar.head.vertex_count, 3), np.float32),
        K=camera.K.cpu().numpy(), viewmat=camera.viewmat.cpu().numpy(),
        expression_names=avatar.head.expression_names, head_model=avatar.head.model_id,
        head_family=avatar.head.family, **arrays,
    )  # fmt: skip
