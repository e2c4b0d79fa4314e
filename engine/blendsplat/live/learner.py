# SPDX-License-Identifier: Apache-2.0
"""The training of a live session: frames as they come, steps whenever there are frames, and what the avatar shows of
the newest one before it has learned from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from blendsplat.avatars.avatar import TrainingCamera
from blendsplat.avatars.rendering import render_gaussians
from blendsplat.avatars.rgbavatar.model import RGBAvatar
from blendsplat.heads.model import HeadModel, HeadParams
from blendsplat.heads.performance import Performance
from blendsplat.image_metrics.psnr_ssim import psnr
from blendsplat.live.pools import FramePools
from blendsplat.live.tracker import TrackedFrame
from blendsplat.training.checkpoint import save_checkpoint
from blendsplat.training.continuation import continuation_path
from blendsplat.training.rgbavatar.initialise import new_avatar
from blendsplat.training.rgbavatar.preset import RGBAvatarPreset
from blendsplat.training.rgbavatar.trainer import RGBAvatarTrainer
from blendsplat.training.scored_pixels import scored_map
from blendsplat.training.spread import part_spread

# How far features go in a whole take of somebody talking, by part (median of real clips): the first seconds show less,
# and a network whose inputs were scaled by them alone would see later ones many times too large.
USUAL_SPREAD = {"expression": 0.1, "head_rotation": 0.03, "jaw": 0.04, "left_eye": 0.05, "right_eye": 0.05}
GREY = 0.5  # behind a preview


@dataclass(frozen=True)
class Lesson:
    """A frame as the training takes it: its number, planes [1,H,W,5] uint8 (premultiplied RGB, matte, valid weight),
    and parameters of one row, whose shape is the head's own."""

    number: int
    planes: Tensor
    params: HeadParams

    @classmethod
    def of(cls, frame: TrackedFrame) -> Lesson:
        """Of a tracked frame that shows the face."""
        assert frame.params is not None
        looked = frame.looked
        alpha = looked.matte.astype(np.float32)[..., None] / 255
        premultiplied = (looked.image * alpha + 0.5).astype(np.uint8)
        planes = torch.from_numpy(np.dstack([premultiplied, looked.matte, frame.valid]))
        return cls(looked.number, planes[None], frame.params)


@dataclass(frozen=True)
class Shown:
    """The avatar in a frame: image [S,S,3] uint8 over grey, and its PSNR over the pixels that are scored."""

    image: np.ndarray
    psnr: float


class Learner:
    """The avatar of one session, its pools and its optimiser. Used by one thread."""

    def __init__(
        self, head: HeadModel, camera: TrainingCamera, first: Sequence[Lesson], preset: RGBAvatarPreset, name: str,
        device: str,
    ) -> None:  # fmt: skip
        """head: the person's own; camera: of the tracked pictures; first: the frames to begin with, at least one;
        preset: with as many images as will ever be asked for."""
        params = _stacked([lesson.params for lesson in first])
        self.device = device
        self.pools = FramePools(preset, camera.height, camera.width, params[[0]].to(device))
        for lesson in first:
            self.admit(lesson)
        avatar = new_avatar(head, camera, preset, params, name)
        if preset.standardise_features:
            _widen_features(avatar, params)
        self.trainer = RGBAvatarTrainer(
            head, camera, self.pools.store, preset, name, device, avatar, colors_known=False, keep_surfaces=False
        )
        self.trainer.fed_by(self.pools.sampler)
        self.psnr = float("nan")  # of the batches trained on, smoothed

    @property
    def images(self) -> int:
        """How many images were trained on."""
        return self.trainer.images

    def admit(self, lesson: Lesson) -> None:
        """Take in a frame."""
        self.pools.admit(lesson.number, lesson.planes, lesson.params.to(self.device))

    def step(self) -> None:
        """Train on a batch."""
        figure = self.trainer.step().psnr()
        self.psnr = figure if self.psnr != self.psnr else 0.9 * self.psnr + 0.1 * figure

    @torch.no_grad()
    def show(self, frame: TrackedFrame) -> Shown:
        """What the avatar, as it is, shows in a tracked frame."""
        lesson, points = Lesson.of(frame), frame.looked.points
        weights = frame.valid if points is None else scored_map(frame.looked.matte, points[:, :2])
        image, alpha = self._rendered(lesson)
        shown = ((image + GREY * (1 - alpha))[0].clamp(0, 1) * 255 + 0.5).to(torch.uint8).cpu().numpy()
        return Shown(shown, self._psnr(image, lesson, torch.from_numpy(weights)[None]))

    @torch.no_grad()
    def psnr_of(self, lesson: Lesson) -> float:
        """Of a frame, as the avatar is, over the pixels that a training counts."""
        return self._psnr(self._rendered(lesson)[0], lesson, lesson.planes[..., 4])

    def _rendered(self, lesson: Lesson) -> tuple[Tensor, Tensor]:
        """image [1,H,W,3] on black, alpha [1,H,W,1]."""
        avatar = self.trainer.avatar
        camera = avatar.camera
        gaussians = avatar.drive(lesson.params.to(self.device))
        image, alpha, _ = render_gaussians(gaussians, camera.viewmat, camera.K, camera.width, camera.height)
        return image, alpha

    def _psnr(self, image: Tensor, lesson: Lesson, weights: Tensor) -> float:
        target = lesson.planes[..., :3].to(self.device) / 255
        return float(psnr(image, target, weights[..., None].to(self.device) / 255)[0])

    @torch.no_grad()
    def splats(self, params: HeadParams) -> dict[str, np.ndarray]:
        """The Gaussians that some frame has shown, posed by ``params``: position [N,3], scale [N,3] (metres), rotation
        [N,4] wxyz, opacity [N], color [N,3], float32."""
        trainer = self.trainer
        posed = trainer.avatar.drive(params.to(self.device))
        kept = trainer.initialised
        named = {
            "position": posed.means, "scale": posed.scales, "rotation": posed.quats, "opacity": posed.opacities,
            "color": posed.colors,
        }  # fmt: skip
        arrays = {name: value[0][kept].float().cpu().numpy() for name, value in named.items()}
        length = np.linalg.norm(arrays["rotation"], axis=-1, keepdims=True)
        return arrays | {"rotation": arrays["rotation"] / np.maximum(length, 1e-12)}

    def save(self, output: Path, record: dict[str, object], performance: str = "") -> int:
        """Write the avatar and, beside it, what a training needs to go on from it -> how many Gaussians it has.
        record: of the training; performance: the identity of the take's."""
        if performance:
            self.trainer.belongs_to(performance)
        finished = self.trainer.finished_avatar()
        finished.training_record = dict(record)
        finished.save(output)
        snapshot = self.trainer.snapshot()
        snapshot.plain["head_model"] = self.trainer.avatar.head.model_id
        save_checkpoint(continuation_path(output), snapshot, "")
        return finished.gaussian_count


def camera_of(person: Performance) -> TrainingCamera:
    """The settled performance's camera, for pictures of its size."""
    K, viewmat = (torch.as_tensor(value, dtype=torch.float32) for value in (person.K, person.viewmat))
    return TrainingCamera(K, viewmat, person.width, person.height)


def _stacked(rows: Sequence[HeadParams]) -> HeadParams:
    """One-row parameters as those of as many frames."""
    names = ("expression", "root_pose", "neck_pose", "jaw_pose", "eyes_pose", "eyelids", "translation")
    return HeadParams(rows[0].shape, *(torch.cat([getattr(row, name) for row in rows]) for name in names))


@torch.no_grad()
def _widen_features(avatar: RGBAvatar, params: HeadParams) -> None:
    """Scale the network's inputs by what is usual where the first frames show less."""
    features = avatar.features(params)
    usual = [torch.full((size,), USUAL_SPREAD.get(name, 0.02)) for name, size in avatar.layout]
    spread: Tensor = torch.maximum(part_spread(features, avatar.layout), torch.cat(usual).to(features))
    avatar.feature_scale.copy_(1 / spread)
