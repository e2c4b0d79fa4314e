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
from blendsplat.avatars.dipguava.networks import TexelMlp, UNet, encoded_places
from blendsplat.avatars.dipguava.settings import DipGuavaSettings
from blendsplat.avatars.dipguava.surface import (
    Texels,
    TriangleFrames,
    UVCharts,
    normal_maps,
    sample,
    triangle_frames,
    uv_charts,
)
from blendsplat.avatars.file import write_avatar
from blendsplat.avatars.rgbavatar.model import SCHEMA as RGB_SCHEMA
from blendsplat.avatars.rgbavatar.model import RGBAvatar
from blendsplat.errors import FormatError, InputError
from blendsplat.geometry import quat_multiply
from blendsplat.heads.model import HeadModel, HeadParams

Shown = Literal["full", "base", "residual", "sliders"]
APPEARANCE, GEOMETRY = 4, 10  # channels: colour and opacity; position, log-scale, quaternion
GAUSSIAN_PARAMETERS = ("positions", "log_scales", "quats")
NETWORKS = ("base", "texture", "residual", "geometry")
_CONDITION_ARRAYS = ("condition_shift", "condition_scale", "condition_range")
RESIDUAL_GAIN = 4.0  # of the residual view: a difference of an eighth reaches the end of the range


@dataclass
class FrameInputs:
    """What the networks and the binding take of B frames: condition [B,D], normals [B,3,S,S], triangle frames."""

    condition: Tensor
    normals: Tensor
    frames: TriangleFrames


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
    },
    header=("dipguava",),
    ranges=(*RGB_SCHEMA.ranges, "dip.condition_range"),
    halves=("dip.base", "dip.texture", "dip.residual", "dip.geometry"),
)  # fmt: skip


class DipGuava(nn.Module, Avatar):
    """The avatar. Parameters: positions, log_scales [N,3], quats [N,4] in the frame and the size of ``triangle`` [N],
    and the networks ``base``, ``residual``, ``geometry``, as far as the settings have them. The condition is
    standardised by ``condition_shift`` and ``condition_scale`` [D]; ``condition_range`` [2,D] is what training saw.

    ``stage`` says what takes part: 1 the base, 2 the residual as well (an avatar of a file: 2).
    """

    views = ("full", "base", "residual", "sliders")
    triangle: Tensor
    condition_shift: Tensor
    condition_scale: Tensor
    condition_range: Tensor
    places: Tensor

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
        self.charts: UVCharts = uv_charts(head)
        count, inputs = len(triangle), condition_size(head)
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
        s, width = settings, settings.unet_width
        place, mlp = self.places.shape[1], partial(TexelMlp, width=s.mlp_width, layers=s.mlp_layers)
        self.base: nn.Module | None = None
        if s.base == "optimised":
            self.base = LearnedMap(s.uv_size)
        elif s.base == "normals" and s.backbone == "mlp":
            self.base = mlp(place, APPEARANCE, own=3, zero=s.texture_size > 0)
        elif s.base == "normals":
            self.base = UNet(3, APPEARANCE, width, zero=s.texture_size > 0)
        self.texture = LearnedMap(s.texture_size) if s.texture_size else None
        self.residual: nn.Module | None = None
        if s.residual_appearance:
            zero = s.base != "none"
            self.residual = (
                mlp(place, APPEARANCE, condition=inputs, own=3, zero=zero) if s.backbone == "mlp"
                else UNet(3, APPEARANCE, width, inputs, zero=zero)
            )  # fmt: skip
        self.geometry = mlp(place, GEOMETRY, condition=inputs, zero=True) if s.residual_geometry else None

    @property
    def gaussian_count(self) -> int:
        return self.positions.shape[0]

    def _apply(self, fn: Any, recurse: bool = True) -> DipGuava:
        """Module.to and its kin carry along what is no parameter."""
        super()._apply(fn, recurse)
        device = self.positions.device
        self.head, self.texels = self.head.to(device), self.texels.to(device)
        self.charts = UVCharts(self.charts.centres.to(device), self.charts.slopes.to(device))
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

    # --- from head parameters to the networks' inputs

    def condition(self, params: HeadParams, *, bounded: bool = False) -> Tensor:
        """[B,D]: expression and pose, standardised (section 4.2). bounded: nothing beyond what training saw."""
        self.check(params)
        raw = raw_condition(params)
        if bounded:
            raw = raw.clamp(self.condition_range[0], self.condition_range[1])
        return (raw - self.condition_shift) * self.condition_scale

    def inputs(self, params: HeadParams, *, bounded: bool = False, vertices: Tensor | None = None) -> FrameInputs:
        """Of B frames' head parameters; vertices: see Avatar.drive."""
        vertices = self.posed(params, vertices)
        normals = normal_maps(vertices, self.head.faces, self.camera.viewmat, self.texels)
        return FrameInputs(self.condition(params, bounded=bounded), normals, triangle_frames(vertices, self.head.faces))

    # --- the maps

    def base_map(self, inputs: FrameInputs) -> Tensor | None:
        """F_base's map [B,4,S,S]: what sigmoid makes colour and opacity of; None where there is no base."""
        return None if self.base is None else self._map(self.base, inputs, conditioned=False)

    def residual_map(self, inputs: FrameInputs) -> Tensor | None:
        """F_d's map [B,4,S,S], added to the base before the sigmoid."""
        return None if self.residual is None else self._map(self.residual, inputs, conditioned=True)

    def geometry_map(self, inputs: FrameInputs) -> Tensor | None:
        """F_g's map [B,10,S,S]: residuals of position, log-scale and quaternion."""
        if self.geometry is None:
            return None
        with self._precision(inputs):
            values: Tensor = self.geometry(self.places, inputs.condition)
        return self.texels.grown(values.float())

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
        drawn = self.geometry_map(inputs) if self.stage == 2 else None
        if drawn is None:
            return Deformed(positions, log_scales, quats)
        moved = sample(drawn, self.charts.uv(self.triangle, positions))
        return Deformed(positions + moved[..., :3], log_scales + moved[..., 3:6], quats + moved[..., 6:])

    def appearance(self, inputs: FrameInputs, deformed: Deformed, shown: Shown = "full") -> tuple[Tensor, Tensor]:
        """Colours [B,N,3] and opacities [B,N] (eq. 7 and 8): sums before the sigmoid."""
        resting = self.positions[None] if self.settings.moving_uv else torch.zeros_like(self.positions[None])
        total, batch = self.positions.new_zeros(1, self.gaussian_count, APPEARANCE), len(inputs.condition)
        base, uv = self.base_map(inputs), self.charts.uv(self.triangle, resting)
        for beneath in (None if self.texture is None else self.texture(), base):
            if beneath is not None:
                total = total + sample(beneath, uv)
        without = total
        drawn = self.residual_map(inputs) if self.stage == 2 or base is None else None
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
        sliders = RGBAvatar.from_file(meta, arrays)
        settings = DipGuavaSettings.from_header(meta["dipguava"])
        avatar = cls(sliders.head, sliders.triangle, sliders.camera, settings, sliders.name)
        for name in (*GAUSSIAN_PARAMETERS, *_CONDITION_ARRAYS):
            mine, stored = getattr(avatar, name), torch.from_numpy(arrays[f"dip.{name}"])
            if mine.shape != stored.shape:
                raise FormatError(f"The avatar's file has {name!r} of another head; train the avatar again.")
            mine.copy_(stored)
        for name, network in avatar.networks().items():
            if f"dip.{name}" not in arrays:
                raise FormatError(f"The avatar's file lacks its network {name!r}; train the avatar again.")
            set_flat_parameters(network, arrays[f"dip.{name}"], name)
        avatar.take_sliders(sliders)
        avatar.reference = sliders.reference
        avatar.training_record = dict(meta["training"])
        return avatar


class LearnedMap(nn.Module):
    """One learned map for all frames: beneath the base, or in its place (the ablation "OptBase")."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.map = nn.Parameter(torch.zeros(1, APPEARANCE, size, size))

    def forward(self, normals: Tensor | None = None, condition: Tensor | None = None) -> Tensor:
        del normals, condition
        return self.map


def raw_condition(params: HeadParams) -> Tensor:
    """[B,D]: expression, jaw, eyes, neck as rotation vectors, and lids."""
    parts = [params.expression, params.jaw_pose, params.eyes_pose.flatten(1), params.neck_pose, params.eyelids]
    return torch.cat([part.expand(params.batch, -1) for part in parts], 1)


def condition_layout(head: HeadModel) -> list[tuple[str, int]]:
    """[name, size] of the condition's parts, in order."""
    return [("expression", head.expression_count), ("jaw", 3), ("eyes", 6), ("neck", 3), ("eyelids", 2)]


def condition_size(head: HeadModel) -> int:
    """D."""
    return sum(size for _, size in condition_layout(head))


def flat_parameters(network: nn.Module) -> np.ndarray:
    """All of a network's parameters [P], one after the other by name; half precision where all of them fit into it."""
    flat = torch.cat([value.detach().flatten().cpu() for _, value in sorted(network.named_parameters())])
    halves = flat.half()
    return (halves if bool(halves.isfinite().all()) else flat).numpy()


@torch.no_grad()
def set_flat_parameters(network: nn.Module, values: np.ndarray, name: str) -> None:
    """The reverse. Raises FormatError when there are more or fewer."""
    parameters = [value for _, value in sorted(network.named_parameters())]
    if len(values) != sum(value.numel() for value in parameters):
        raise FormatError(f"The avatar's file has a network {name!r} of another size; train the avatar again.")
    parts = torch.from_numpy(values).float().split([value.numel() for value in parameters])
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.copy_(part.view_as(parameter))
