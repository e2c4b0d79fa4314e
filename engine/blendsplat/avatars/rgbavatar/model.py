# SPDX-License-Identifier: Apache-2.0
"""RGBAvatar (Li et al. 2025): base Gaussians in UV space, K learned blendshapes and a small MLP that weighs them.

One Gaussian per covered UV texel, carried by its triangle's tangent frame; everything is batched over frames.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import blendsplat
from blendsplat.avatars.avatar import BlendshapeAvatar, Gaussians, TrainingCamera
from blendsplat.avatars.file import FileSchema, write_avatar
from blendsplat.avatars.retarget import Reference
from blendsplat.avatars.rgbavatar.features import feature_layout, frame_features
from blendsplat.avatars.rig import head_of_rig, rig_arrays
from blendsplat.heads.model import HeadModel, HeadParams
from blendsplat.heads.posing import Posing
from blendsplat.heads.tangent_frames import tangent_frames, uv_edges
from blendsplat.heads.uv import rasterize_uv
from blendsplat.splatting.bind import SH_DC, BindParameters, Carrier, blend_and_bind
from blendsplat.splatting.playback import Packed, PlaybackPass, packed

_GAUSSIAN_ARRAYS = ("positions", "log_scales", "quats", "opacity_logits", "colors")
_DELTA_ARRAYS = ("delta_positions", "delta_quats", "delta_colors")
_RANGES = ("feature_range", "weight_range")

SCHEMA = FileSchema(
    system="rgbavatar",
    shapes={
        "mlp.0.weight": ("H", "D"), "mlp.0.bias": ("H",), "mlp.1.weight": ("G", "H"), "mlp.1.bias": ("G",),
        "mlp.2.weight": ("K", "G"), "mlp.2.bias": ("K",), "feature_origin": (3,),
    },
    optional={"feature_range": (2, "D"), "weight_range": (2, "K")},
    counts={"feature_layout": ("D", lambda layout: sum(int(size) for _, size in layout))},
    ranges=_RANGES,
)  # fmt: skip


@dataclass
class Surface:
    """A head's posed surface in B frames: vertices [B,V,3], tangent frames [B,F,3,3], their rotations [B,F,4] wxyz."""

    vertices: Tensor
    frames: Tensor
    quats: Tensor

    @classmethod
    def empty(cls, head: HeadModel, batch: int) -> Surface:
        """Buffers for ``batch`` frames of a head."""
        new, faces = head.template.new_zeros, len(head.faces)
        return cls(new(batch, head.vertex_count, 3), new(batch, faces, 3, 3), new(batch, faces, 4))

    def __getitem__(self, rows: list[int]) -> Surface:
        """Some of the frames."""
        return Surface(self.vertices[rows], self.frames[rows], self.quats[rows])


class RGBAvatar(nn.Module, BlendshapeAvatar):
    """The learnable avatar. Parameters: positions, log_scales [N,3], quats [N,4], opacity_logits [N], colors [N,3],
    delta_positions, delta_quats, delta_colors [K,N,3|4|3], and ``mlp``. Buffers bind Gaussian i to ``triangle[i]`` at
    ``barycentrics[i]``; ``feature_shift`` and ``feature_scale`` [D] standardise the MLP's input (identity in the paper;
    folded into its first layer when saved). ``feature_range`` [2,D] and ``weight_range`` [2,K] hold the lowest and the
    highest that training saw, where a file says so. A finished avatar's blendshapes may be half precision
    (``halved``): it is then for playing, and passes no gradients on."""

    triangle: Tensor
    corners: Tensor
    barycentrics: Tensor
    feature_origin: Tensor
    feature_shift: Tensor
    feature_scale: Tensor

    def __init__(
        self,
        head: HeadModel,
        triangle: Tensor,
        barycentrics: Tensor,
        camera: TrainingCamera,
        *,
        blendshapes: int = 20,
        hidden: tuple[int, int] = (128, 128),
        name: str = "avatar",
    ) -> None:
        super().__init__()
        self.head, self.camera, self.name = head, camera, name
        self.training_record = {}
        self._packed: Packed | None = None
        self.feature_range: Tensor | None = None
        self.weight_range: Tensor | None = None
        count = len(triangle)
        self.layout = feature_layout(head)
        inputs = sum(size for _, size in self.layout)
        self.register_buffer("triangle", triangle.long().contiguous())
        self.register_buffer("corners", head.faces[triangle.to(head.faces.device).long()].contiguous())
        self.register_buffer("barycentrics", barycentrics.float().contiguous())
        self.register_buffer("feature_origin", torch.zeros(3))
        self.register_buffer("feature_shift", torch.zeros(inputs))
        self.register_buffer("feature_scale", torch.ones(inputs))

        self.positions = nn.Parameter(torch.zeros(count, 3))
        self.log_scales = nn.Parameter(torch.full((count, 3), float(np.log(8e-4))))
        self.quats = nn.Parameter(torch.tensor([1.0, 0, 0, 0]).repeat(count, 1))
        self.opacity_logits = nn.Parameter(torch.zeros(count))
        self.colors = nn.Parameter(torch.zeros(count, 3))
        self.delta_positions = nn.Parameter(torch.zeros(blendshapes, count, 3))
        self.delta_quats = nn.Parameter(torch.zeros(blendshapes, count, 4))
        self.delta_colors = nn.Parameter(torch.zeros(blendshapes, count, 3))
        sizes = (inputs, *hidden, blendshapes)
        self.mlp = nn.ModuleList(nn.Linear(before, after) for before, after in itertools.pairwise(sizes))

    @classmethod
    def on_head(cls, head: HeadModel, uv_resolution: int, camera: TrainingCamera, **options: Any) -> RGBAvatar:
        """One Gaussian per covered texel of a personalised head's UV layout (section 3.2, Initialization)."""
        triangle, barycentrics = rasterize_uv(head, uv_resolution)
        return cls(head, triangle, barycentrics, camera, **options)

    @property
    def gaussian_count(self) -> int:
        return self.positions.shape[0]

    @property
    def blendshape_count(self) -> int:
        return self.delta_positions.shape[0]

    @property
    def halved(self) -> bool:
        """Whether the blendshapes are half precision."""
        return self.delta_positions.dtype == torch.float16

    def halve_bases(self) -> None:
        """Make the blendshapes half precision, for playing and for the file; not where one is too large for it."""
        halves = [getattr(self, name).detach().half() for name in _DELTA_ARRAYS]
        if all(bool(part.isfinite().all()) for part in halves):
            for name, part in zip(_DELTA_ARRAYS, halves, strict=True):
                setattr(self, name, nn.Parameter(part, requires_grad=False))

    def _apply(self, fn: Any, recurse: bool = True) -> RGBAvatar:
        """Module.to and its kin carry the head and the camera along."""
        super()._apply(fn, recurse)
        self._packed = None
        device = self.positions.device
        self.head = self.head.to(device)
        self.camera = replace(self.camera, K=self.camera.K.to(device), viewmat=self.camera.viewmat.to(device))
        self.feature_range = None if self.feature_range is None else self.feature_range.to(device)
        return self

    def features(self, params: HeadParams) -> Tensor:
        """The raw features [B,D] of B frames."""
        return frame_features(params, self.feature_origin)

    def standardised(self, features: Tensor) -> Tensor:
        """Raw features [B,D] -> the MLP's input."""
        return (features - self.feature_shift) * self.feature_scale

    def weights_of(self, features: Tensor) -> Tensor:
        """Raw features [B,D] -> blendshape weights [B,K] (eq. 2)."""
        first, second, last = self.mlp
        hidden = first(self.standardised(features)).relu()
        weights: Tensor = last(second(hidden).relu())
        return weights

    @property
    def hidden(self) -> tuple[int, int]:
        """Widths of the MLP's two hidden layers."""
        return self.mlp.get_parameter("0.bias").shape[0], self.mlp.get_parameter("1.bias").shape[0]

    def weights(self, params: HeadParams, *, bounded: bool = False) -> Tensor:
        self.check(params)
        features = self.features(params)
        return self.weights_of(self.held_back(features) if bounded else features)

    def held_back(self, features: Tensor) -> Tensor:
        """Raw features [B,D], none beyond what training saw: outside, the MLP's answers mean nothing."""
        if self.feature_range is None:
            return features
        return features.clamp(self.feature_range[0], self.feature_range[1])

    def gaussians(self, weights: Tensor | None, vertices: Tensor) -> Gaussians:
        """Gaussians of weights [B,K] on posed vertices [B,V,3]. weights None: the base alone (all weights zero)."""
        if self.halved:
            return self._played(weights, vertices)
        return self.bound_gaussians(weights, self.surface(vertices))

    @torch.no_grad()
    def _played(self, weights: Tensor | None, vertices: Tensor) -> Gaussians:
        """Gaussians of half blendshapes, of their own memory."""
        batch = vertices.shape[0]
        played = PlaybackPass(batch, self.packed())
        played.forward(vertices.contiguous(), None if weights is None else weights.contiguous())
        bound = played.gaussians
        shared = bound.scales.expand(batch, -1, -1), bound.opacities.expand(batch, -1)
        return Gaussians(bound.means, bound.quats, *shared, bound.colors)

    def surface(self, vertices: Tensor) -> Surface:
        """What carries the Gaussians in B frames: of posed vertices [B,V,3]."""
        head = self.head
        return Surface(vertices, *tangent_frames(vertices, head.faces, head.uvs, head.uv_faces))

    def carrier(self, surface: Surface) -> Carrier:
        """``surface`` and where on it each Gaussian lies."""
        return Carrier(
            surface.vertices, surface.frames, surface.quats, self.triangle, self.corners, self.barycentrics
        )  # fmt: skip

    def bind_parameters(self) -> BindParameters:
        """The tensors behind the learnable parameters, for a BindPass."""
        return BindParameters(*(getattr(self, name).detach() for name in BindParameters._fields))

    def packed(self) -> Packed:
        """What PlaybackPass plays. Of half blendshapes, which no longer change, it is made once."""
        if self._packed is not None:
            return self._packed
        edges = uv_edges(self.head.uvs, self.head.uv_faces)
        made = packed(self.bind_parameters(), self.triangle, self.barycentrics, self.head.faces, edges)
        if self.halved:
            self._packed = made
        return made

    def animation(self, batch: int, *, bounded: bool = False) -> Animation:
        return Animation(self, batch, bounded)

    def bound_gaussians(self, weights: Tensor | None, surface: Surface) -> Gaussians:
        """Gaussians of weights [B,K] on the surface of B frames (eq. 1, 4)."""
        batch = surface.vertices.shape[0]
        if self.halved:
            return self._played(weights, surface.vertices)
        base = (self.positions, self.quats, self.colors)
        deltas = (self.delta_positions, self.delta_quats, self.delta_colors)
        means, quats, colors = blend_and_bind(base, deltas, weights, self.carrier(surface))
        return Gaussians(
            means=means,
            quats=quats,
            scales=self.log_scales.exp().expand(batch, -1, -1),
            opacities=self.opacity_logits.sigmoid().expand(batch, -1),
            colors=colors,
        )

    def like(self, triangle: Tensor, barycentrics: Tensor) -> RGBAvatar:
        """An untrained avatar of the same make with Gaussians at other places."""
        other = RGBAvatar(
            self.head, triangle, barycentrics, self.camera,
            blendshapes=self.blendshape_count, hidden=self.hidden, name=self.name,
        ).to(self.positions.device)  # fmt: skip
        other.training_record, other.reference = dict(self.training_record), self.reference
        return other

    @torch.no_grad()
    def rearranged(self, rows: Tensor) -> RGBAvatar:
        """A copy whose Gaussians are those in ``rows`` [M] int64 of this one's."""
        copy = self.like(self.triangle[rows], self.barycentrics[rows])
        mine = dict(self.named_parameters()) | dict(self.named_buffers())
        for name, value in (*copy.named_parameters(), *copy.named_buffers()):
            axis = gaussian_axis(name)
            value.copy_(mine[name] if axis is None else mine[name].index_select(axis, rows))
        if self.halved:
            copy.halve_bases()
        copy.feature_range, copy.weight_range = self.feature_range, self.weight_range
        return copy

    def keep(self, kept: Tensor) -> RGBAvatar:
        """A copy with only the Gaussians where ``kept`` [N] is true."""
        return self.rearranged(kept.nonzero()[:, 0])

    def save(self, path: Any) -> None:
        """Write the avatar file of docs/formats.md, atomically."""
        write_avatar(path, SCHEMA, *self.file_content())

    def file_content(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Header and arrays of its file."""
        meta = {
            "name": self.name,
            "head": self.head.name,
            "blendshapes": self.blendshape_count,
            "gaussians": self.gaussian_count,
            "expression_names": list(self.head.expression_names),
            "expression_range": list(self.head.expression_range),
            "feature_layout": [list(part) for part in self.layout],
            "background_trained": "random",
            "training": self.training_record,
            "engine": blendsplat.__version__,
            "performance": self.reference.performance if self.reference is not None else "",
        }
        return meta, self._arrays()

    def _arrays(self) -> dict[str, np.ndarray]:
        arrays = {name: getattr(self, name) for name in (*_GAUSSIAN_ARRAYS, *_DELTA_ARRAYS, "triangle", "barycentrics")}
        arrays |= {f"mlp.{name}": parameter for name, parameter in self.mlp.named_parameters()}
        weight = arrays["mlp.0.weight"].double() * self.feature_scale.double()
        arrays |= {
            "mlp.0.weight": weight,
            "mlp.0.bias": arrays["mlp.0.bias"] - weight @ self.feature_shift.double(),
            "feature_origin": self.feature_origin, "camera.K": self.camera.K, "camera.viewmat": self.camera.viewmat,
            "camera.size": torch.tensor([self.camera.width, self.camera.height]),
        }  # fmt: skip
        arrays |= {name: value for name in _RANGES if (value := getattr(self, name)) is not None}
        where = self.reference.arrays() if self.reference is not None else {}
        return rig_arrays(self.head) | where | {name: value.detach().cpu().numpy() for name, value in arrays.items()}

    @classmethod
    @torch.no_grad()
    def from_file(cls, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> RGBAvatar:
        """The avatar of a file's checked header and arrays (avatars.file.read_avatar)."""

        def tensor(name: str) -> Tensor:
            return torch.from_numpy(arrays[name])

        width, height = (int(value) for value in arrays["camera.size"])
        avatar = cls(
            head_of_rig(meta, arrays), tensor("triangle"), tensor("barycentrics"),
            TrainingCamera(tensor("camera.K"), tensor("camera.viewmat"), width, height),
            blendshapes=arrays["mlp.2.weight"].shape[0],
            hidden=(arrays["mlp.0.weight"].shape[0], arrays["mlp.1.weight"].shape[0]), name=str(meta["name"]),
        )  # fmt: skip
        for name in (*_GAUSSIAN_ARRAYS, *_DELTA_ARRAYS, "feature_origin"):
            getattr(avatar, name).copy_(tensor(name))
        if all(arrays[name].dtype == np.float16 for name in _DELTA_ARRAYS):
            avatar.halve_bases()
        for name, parameter in avatar.mlp.named_parameters():
            parameter.copy_(tensor(f"mlp.{name}"))
        avatar.training_record = dict(meta["training"])
        for name in _RANGES:
            setattr(avatar, name, tensor(name) if name in arrays else None)
        avatar.reference = Reference.from_file(meta, arrays)
        return avatar


class Animation:
    """An avatar driven batch by batch in buffers made once, without gradients. Scales and opacities have one row, which
    holds for every frame; what a call returns is overwritten by the next."""

    def __init__(self, avatar: RGBAvatar, batch: int, bounded: bool = False) -> None:
        self._avatar, self._bounded = avatar, bounded
        self._playback = PlaybackPass(batch, avatar.packed())
        self._posing = Posing(avatar.head) if Posing.suits(avatar.head) else None

    @torch.no_grad()
    def __call__(self, params: HeadParams) -> Gaussians:
        weights = self._avatar.weights(params, bounded=self._bounded)  # refuses another head's parameters
        vertices = self._avatar.vertices(params) if self._posing is None else self._posing(self._avatar.of_own(params))
        self._playback.forward(vertices.contiguous(), weights)
        return self._playback.gaussians


def gaussian_axis(name: str) -> int | None:
    """Which axis of the parameter or buffer ``name`` counts Gaussians; None for those that are not per Gaussian."""
    if name in _DELTA_ARRAYS:
        return 1
    return 0 if name in (*_GAUSSIAN_ARRAYS, "triangle", "corners", "barycentrics") else None


def features_of_colors(colors: Tensor) -> Tensor:
    """RGB -> SH-DC features."""
    return (colors - 0.5) / SH_DC
