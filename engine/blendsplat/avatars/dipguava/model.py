# SPDX-License-Identifier: Apache-2.0
"""DipGuava (Lee et al. 2025): triangle-bound Gaussians whose colour and opacity are looked up in UV maps that networks
draw for every frame: a base from the posed head's normals, and a personal residual from expression and pose.

For Blender, which moves linear shape keys, a trained one carries ``sliders``: reduced Gaussian blendshapes of the same
Gaussians, distilled from it (training/dipguava/distil.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from blendsplat.avatars.avatar import Avatar, Gaussians, TrainingCamera
from blendsplat.avatars.dipguava.network_set import (
    APPEARANCE,
    NETWORKS,
    check_sizes,
    flat_parameters,
    new_networks,
    set_flat_parameters,
)
from blendsplat.avatars.dipguava.networks import MixedMaps, TexelMlp, encoded_places
from blendsplat.avatars.dipguava.settings import DipGuavaSettings
from blendsplat.avatars.dipguava.surface import (
    Texels,
    TriangleFrames,
    normal_maps,
    sample,
    triangle_frames,
)
from blendsplat.avatars.dipguava.uv_charts import UVCharts, uv_charts
from blendsplat.avatars.file import write_avatar
from blendsplat.avatars.hold_back import held_features
from blendsplat.avatars.rgbavatar.model import SCHEMA as RGB_SCHEMA
from blendsplat.avatars.rgbavatar.model import RGBAvatar
from blendsplat.errors import FormatError, InputError
from blendsplat.geometry import quat_multiply
from blendsplat.heads.model import HeadModel, HeadParams

Shown = Literal["full", "base", "residual", "sliders"]
GAUSSIAN_PARAMETERS = ("positions", "log_scales", "quats")
_CONDITION_ARRAYS = ("condition_shift", "condition_scale", "condition_range")
RESIDUAL_GAIN = 4.0  # of the residual view: a difference of an eighth reaches the end of the range


@dataclass
class FrameInputs:
    """What the networks and the binding take of B frames: condition [B,D], normals [B,3,S,S], triangle frames; and
    F_base's maps [B,4,S,S], where they are known already."""

    condition: Tensor
    normals: Tensor
    frames: TriangleFrames
    base: Tensor | None = None


@dataclass
class Deformed:
    """The residual geometry of B frames, of each Gaussian: positions, log_scales [B,N,3], quats [B,N,4], all local and
    after the deformation (eq. 6). Without one the batch is 1."""

    positions: Tensor
    log_scales: Tensor
    quats: Tensor


SCHEMA = replace(
    RGB_SCHEMA, system="dipguava",
    shapes={
        **RGB_SCHEMA.shapes, "dip.positions": ("N", 3), "dip.log_scales": ("N", 3), "dip.quats": ("N", 4),
        "dip.condition_shift": ("C",), "dip.condition_scale": ("C",), "dip.condition_range": (2, "C"),
    },
    optional={
        **RGB_SCHEMA.optional, "dip.base": ("P",), "dip.texture": ("X",), "dip.residual": ("Q",),
        "dip.geometry": ("R",),
        "dip.residual_maps": ("Y",), "dip.geometry_maps": ("Z",),
    },
    header=("dipguava",),
    ranges=(*RGB_SCHEMA.ranges, "dip.condition_range"),
    halves=tuple(f"dip.{name}" for name in NETWORKS),
)  # fmt: skip


class DipGuava(nn.Module, Avatar):
    """The avatar. Parameters: positions, log_scales [N,3], quats [N,4] in the frame and the size of ``triangle`` [N],
    and the networks ``base``, ``residual``, ``geometry``, as far as the settings have them. The condition is
    standardised by ``condition_shift`` and ``condition_scale`` [D]; ``condition_range`` [2,D] is what training saw.

    ``stage`` says what takes part: 1 the base, 2 the residual as well (an avatar of a file: 2).
    """

    views = ("full", "base", "residual", "sliders")
    scored = (("full", ""), ("sliders", "sliders_"))
    triangle: Tensor
    condition_shift: Tensor
    condition_scale: Tensor
    condition_range: Tensor
    places: Tensor
    base: nn.Module | None
    texture: nn.Module | None
    residual: nn.Module | None
    geometry: nn.Module | None
    residual_maps: MixedMaps | None
    geometry_maps: MixedMaps | None

    def __init__(
        self, head: HeadModel, triangle: Tensor, camera: TrainingCamera, settings: DipGuavaSettings,
        name: str = "avatar",
    ) -> None:  # fmt: skip
        super().__init__()
        self.head, self.camera, self.name, self.settings = head, camera, name, settings
        self.training_record: dict[str, Any] = {}
        self.stage = 2
        self.mixed_precision = False
        self._distilled: tuple[RGBAvatar, ...] = ()  # in a tuple: its parameters are not this module's
        self.texels = Texels.of(head, settings.uv_size)
        self.charts: UVCharts = uv_charts(head, settings.uv_beyond)
        count, inputs = len(triangle), condition_size(head, settings)
        self.register_buffer("triangle", triangle.long().contiguous())
        self.register_buffer("condition_shift", torch.zeros(inputs))
        self.register_buffer("condition_scale", torch.ones(inputs))
        everything = torch.full((inputs,), np.inf)
        self.register_buffer("condition_range", torch.stack([-everything, everything]))
        places = self.texels.on_surface(head.template[None], head.faces)[0]
        self.register_buffer("places", encoded_places(places, settings.frequencies), persistent=False)

        self.positions = nn.Parameter(torch.zeros(count, 3))
        self.log_scales = nn.Parameter(torch.zeros(count, 3))
        self.quats = nn.Parameter(torch.tensor([1.0, 0, 0, 0]).repeat(count, 1))
        made = new_networks(settings, inputs)
        for name in NETWORKS:
            setattr(self, name, made.get(name))

    @property
    def gaussian_count(self) -> int:
        return self.positions.shape[0]

    @property
    def residual_takes_part(self) -> bool:
        """In stage 2; where there is no base that it could be a residual of, from the beginning."""
        return self.stage == 2 or self.base is None

    def _apply(self, fn: Any, recurse: bool = True) -> DipGuava:
        """Module.to and its kin carry along what is no parameter."""
        super()._apply(fn, recurse)
        device = self.positions.device
        self.head, self.texels = self.head.to(device), self.texels.to(device)
        self.charts = self.charts.to(device)
        camera = self.camera
        self.camera = TrainingCamera(camera.K.to(device), camera.viewmat.to(device), camera.width, camera.height)
        self._distilled = tuple(one.to(device) for one in self._distilled)
        return self

    @property
    def sliders(self) -> RGBAvatar | None:
        """Reduced blendshapes of the same Gaussians, once distilled: what Blender's shape keys show."""
        return self._distilled[0] if self._distilled else None

    def take_sliders(self, avatar: RGBAvatar) -> None:
        """``sliders`` from here on. No property sets them: torch would make a part of this module of what it is given.

        Raises ValueError for another number of Gaussians."""
        if avatar.gaussian_count != self.gaussian_count:
            raise ValueError(f"avatar: {avatar.gaussian_count} Gaussians, expected {self.gaussian_count}")
        self._distilled = (avatar,)

    def hold(self, strength: float) -> None:
        super().hold(strength)
        if self.sliders is not None:
            self.sliders.hold(strength)

    # --- from head parameters to the networks' inputs

    def condition(self, params: HeadParams, *, bounded: bool = False) -> Tensor:
        """[B,D]: expression and pose, standardised (section 4.2). bounded: nothing beyond what training saw."""
        self.check(params)
        raw = raw_condition(params, self.settings)
        if bounded:
            raw = raw.clamp(self.condition_range[0], self.condition_range[1])
        elif self.held:
            raw = held_features(raw, self.condition_range, self.held)
        return (raw - self.condition_shift) * self.condition_scale

    def inputs(self, params: HeadParams, *, bounded: bool = False, vertices: Tensor | None = None) -> FrameInputs:
        """Of B frames' head parameters; vertices: see Avatar.drive."""
        vertices = self.posed(params, vertices)
        normals = normal_maps(vertices, self.head.faces, self.camera.viewmat, self.texels)
        return FrameInputs(self.condition(params, bounded=bounded), normals, triangle_frames(vertices, self.head.faces))

    # --- the maps

    def base_map(self, inputs: FrameInputs) -> Tensor | None:
        """F_base's map [B,4,S,S]: what sigmoid makes colour and opacity of; None where there is no base."""
        if inputs.base is not None or self.base is None:
            return inputs.base
        return self._map(self.base, inputs, conditioned=False)

    def residual_map(self, inputs: FrameInputs) -> Tensor | None:
        """F_d's map [B,4,S,S], added to the base before the sigmoid."""
        drawn = None if self.residual is None else self._map(self.residual, inputs, conditioned=True)
        return self._with_mixed(drawn, self.residual_maps, inputs)

    def geometry_map(self, inputs: FrameInputs) -> Tensor | None:
        """F_g's map [B,10,S,S]: residuals of position, log-scale and quaternion."""
        if self.geometry is None:
            return None
        with self._precision(inputs):
            values: Tensor = self.geometry(self.places, inputs.condition)
        return self._with_mixed(self.texels.grown(values.float()), self.geometry_maps, inputs)

    def _with_mixed(self, drawn: Tensor | None, maps: MixedMaps | None, inputs: FrameInputs) -> Tensor | None:
        """What a network drew [B,C,S,S], with the learned maps that lie beneath it."""
        return drawn if drawn is None or maps is None else drawn + maps(inputs.condition)

    def _map(self, network: nn.Module, inputs: FrameInputs, conditioned: bool) -> Tensor:
        condition = inputs.condition if conditioned else None
        if not isinstance(network, TexelMlp):
            with self._precision(inputs):
                drawn: Tensor = network(inputs.normals, condition)
            return drawn.float()
        own = inputs.normals.flatten(2)[..., self.texels.places].mT
        with self._precision(inputs):
            values: Tensor = network(self.places, condition, own)
        return self.texels.grown(values.float())

    def _precision(self, inputs: FrameInputs) -> torch.autocast:
        """bfloat16 within the networks where it is asked for; maps are float32 whatever."""
        return torch.autocast(inputs.normals.device.type, torch.bfloat16, enabled=self.mixed_precision)

    # --- the Gaussians

    def deformed(self, inputs: FrameInputs) -> Deformed:
        """The local geometry with its residual (eq. 6)."""
        positions, log_scales, quats = self.positions[None], self.log_scales[None], self.quats[None]
        drawn = self.geometry_map(inputs) if self.residual_takes_part else None
        if drawn is None:
            return Deformed(positions, log_scales, quats)
        moved = sample(drawn, self.resting_uv())
        return Deformed(positions + moved[..., :3], log_scales + moved[..., 3:6], quats + moved[..., 6:])

    def resting_uv(self) -> Tensor:
        """[1,N,2]: where the Gaussians lie in UV without a residual (eq. 2); FixedUV: where their triangles do."""
        positions = self.positions[None]
        return self.charts.uv(self.triangle, positions if self.settings.moving_uv else torch.zeros_like(positions))

    def appearance(self, inputs: FrameInputs, deformed: Deformed, shown: Shown = "full") -> tuple[Tensor, Tensor]:
        """Colours [B,N,3] and opacities [B,N] (eq. 7 and 8): sums before the sigmoid."""
        total, batch = self.positions.new_zeros(1, self.gaussian_count, APPEARANCE), len(inputs.condition)
        base, uv = self.base_map(inputs), self.resting_uv()
        for beneath in (None if self.texture is None else self.texture(), base):
            if beneath is not None:
                total = total + sample(beneath, uv)
        without = total
        drawn = self.residual_map(inputs) if self.residual_takes_part else None
        if drawn is not None and shown != "base":
            fused = self.settings.fusion and self.settings.moving_uv
            total = total + sample(drawn, self.charts.uv(self.triangle, deformed.positions) if fused else uv)
        colors = total[..., :3].sigmoid()
        if shown == "residual":
            colors = (0.5 + RESIDUAL_GAIN * (colors - without[..., :3].sigmoid())).clamp(0, 1)
        return colors.expand(batch, -1, -1), total[..., 3].sigmoid().expand(batch, -1)

    def gaussians(self, inputs: FrameInputs, shown: Shown = "full") -> Gaussians:
        """World-space Gaussians of B frames (eq. 1 and 9)."""
        local = self.deformed(inputs) if shown != "base" else self._resting()
        colors, opacities = self.appearance(inputs, local, shown)
        return self.bound(local, inputs.frames, colors, opacities)

    def bound(self, local: Deformed, frames: TriangleFrames, colors: Tensor, opacities: Tensor) -> Gaussians:
        """Local geometry carried by the triangles: mu = k R mu_l + T, s = k s_l, r = R r_l (eq. 1)."""
        sizes = frames.sizes[:, self.triangle, None]
        turned = (frames.rotations[:, self.triangle] @ local.positions[..., None])[..., 0]
        quats = quat_multiply(frames.quats[:, self.triangle], local.quats.expand(len(sizes), -1, -1))
        return Gaussians(
            turned * sizes + frames.centroids[:, self.triangle], quats, local.log_scales.exp() * sizes,
            opacities.contiguous(), colors.contiguous(),
        )  # fmt: skip

    def _resting(self) -> Deformed:
        return Deformed(self.positions[None], self.log_scales[None], self.quats[None])

    def drive(
        self, params: HeadParams, *, bounded: bool = False, vertices: Tensor | None = None, shown: Shown | None = None
    ) -> Gaussians:
        """shown (None: what ``show`` said): everything; the base alone; what the residual changes, about grey (an
        artist's check of wrinkles); or the distilled blendshapes. bounded, vertices: see Avatar."""
        shown = shown or cast(Shown, self.shown)
        if shown == "sliders":
            if self.sliders is None:
                raise InputError(f"The avatar {self.name!r} has no sliders yet; finish its training.")
            return self.sliders.drive(params, bounded=bounded, vertices=vertices)
        return self.gaussians(self.inputs(params, bounded=bounded, vertices=vertices), shown)

    def animation(self, batch: int, *, bounded: bool = False) -> Callable[[HeadParams], Gaussians]:
        if self.shown == "sliders" and self.sliders is not None:
            return self.sliders.animation(batch, bounded=bounded)
        return torch.no_grad()(partial(self.drive, bounded=bounded))

    # --- others of the same make, and the file

    def with_geometry(self, triangle: Tensor, values: dict[str, Tensor]) -> DipGuava:
        """The same avatar with other Gaussians on it: triangle [M] and GAUSSIAN_PARAMETERS. The networks are shared."""
        other = DipGuava.__new__(DipGuava)
        nn.Module.__init__(other)
        for name, value in self.__dict__.items():
            if name not in ("_parameters", "_buffers", "_modules"):
                other.__dict__[name] = value
        other._modules = dict(self._modules)
        other._buffers = dict(self._buffers) | {"triangle": triangle.long().contiguous()}
        other._distilled = ()
        other._parameters = {name: nn.Parameter(values[name].detach().clone()) for name in GAUSSIAN_PARAMETERS}
        return other

    def save(self, path: Path | str) -> None:
        """Write the avatar file of docs/formats.md, atomically. Raises ValueError for one without ``sliders``."""
        sliders = self.sliders
        if sliders is None:
            raise ValueError("sliders: distil them before the avatar is saved")
        sliders.training_record, sliders.reference, sliders.name = self.training_record, self.reference, self.name
        sliders.seen = self.seen
        meta, arrays = sliders.file_content()
        for name in (*GAUSSIAN_PARAMETERS, *_CONDITION_ARRAYS):
            arrays[f"dip.{name}"] = getattr(self, name).detach().cpu().numpy()
        for name, network in self.networks().items():
            arrays[f"dip.{name}"] = flat_parameters(network)
        write_avatar(path, SCHEMA, meta | {"dipguava": self.settings.model_dump()}, arrays)

    def networks(self) -> dict[str, nn.Module]:
        """Those that the settings have, by name."""
        named = {name: getattr(self, name) for name in NETWORKS}
        return {name: network for name, network in named.items() if network is not None}

    @classmethod
    @torch.no_grad()
    def from_file(cls, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> DipGuava:
        """The avatar of a file's checked header and arrays. Raises FormatError for networks that do not fit it."""
        settings = DipGuavaSettings.from_header(meta["dipguava"])
        sliders = RGBAvatar.from_file(meta, arrays)
        condition = condition_size(sliders.head, settings)
        for name in _CONDITION_ARRAYS:
            if arrays[f"dip.{name}"].shape[-1] != condition:
                raise FormatError(f"The avatar's file has {name!r} of another head; train the avatar again.")
        check_sizes(settings, condition, arrays)
        avatar = cls(sliders.head, sliders.triangle, sliders.camera, settings, sliders.name)
        for name in (*GAUSSIAN_PARAMETERS, *_CONDITION_ARRAYS):
            getattr(avatar, name).copy_(torch.from_numpy(arrays[f"dip.{name}"]))
        for name, network in avatar.networks().items():
            set_flat_parameters(network, arrays[f"dip.{name}"])
        avatar.take_sliders(sliders)
        avatar.reference, avatar.seen = sliders.reference, sliders.seen
        avatar.training_record = dict(meta["training"])
        return avatar


def raw_condition(params: HeadParams, settings: DipGuavaSettings) -> Tensor:
    """[B,D]: expression, jaw, eyes, neck as rotation vectors, and lids; where the head is, if the settings say so."""
    parts = [params.expression, params.jaw_pose, params.eyes_pose.flatten(1), params.neck_pose, params.eyelids]
    if settings.condition_place:
        parts += [params.root_pose, params.translation]
    return torch.cat([part.expand(params.batch, -1) for part in parts], 1)


def condition_layout(head: HeadModel, settings: DipGuavaSettings) -> list[tuple[str, int]]:
    """[name, size] of the condition's parts, in order."""
    layout = [("expression", head.expression_count), ("jaw", 3), ("eyes", 6), ("neck", 3), ("eyelids", 2)]
    return layout + ([("rotation", 3), ("translation", 3)] if settings.condition_place else [])


def condition_size(head: HeadModel, settings: DipGuavaSettings) -> int:
    """D."""
    return sum(size for _, size in condition_layout(head, settings))
