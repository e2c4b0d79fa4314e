# SPDX-License-Identifier: Apache-2.0
"""RGBAvatar (Li et al. 2025): base Gaussians in UV space, K learned blendshapes and a small MLP that weighs them.

One Gaussian per covered UV texel, carried by its triangle's tangent frame; everything is batched over frames.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

import blendsplat
from blendsplat.avatars.avatar import BlendshapeAvatar, Gaussians, TrainingCamera
from blendsplat.avatars.file import FileSchema, write_avatar
from blendsplat.avatars.hold_back import SeenWeights, held_features
from blendsplat.avatars.retarget import Reference
from blendsplat.avatars.rgbavatar.features import feature_layout, frame_features
from blendsplat.avatars.rgbavatar.linear_mapping import Layer, linear_of, three_layers
from blendsplat.avatars.rgbavatar.surface import Surface, joint_surface, tangent_surface
from blendsplat.avatars.rig import head_of_rig, rig_arrays
from blendsplat.avatars.seen import Seen
from blendsplat.errors import FormatError, InputError
from blendsplat.heads.model import HeadModel, HeadParams
from blendsplat.heads.posing import Posing
from blendsplat.heads.tangent_frames import uv_edges
from blendsplat.heads.uv import rasterize_uv
from blendsplat.splatting.bind import SH_DC, BindParameters, Carrier, blend_and_bind
from blendsplat.splatting.playback import Packed, PlaybackPass, packed

_GAUSSIAN_ARRAYS = ("positions", "log_scales", "quats", "opacity_logits", "colors")
_DELTA_ARRAYS = ("delta_positions", "delta_quats", "delta_colors")
_RANGES = ("feature_range", "weight_range")
_SEEN = (*_RANGES, "weight_mean", "weight_covariance", "weight_reach")
Space = Literal["tangent", "world"]

SCHEMA = FileSchema(
    system="rgbavatar",
    shapes={
        "mlp.0.weight": ("H", "D"), "mlp.0.bias": ("H",), "mlp.1.weight": ("G", "H"), "mlp.1.bias": ("G",),
        "mlp.2.weight": ("K", "G"), "mlp.2.bias": ("K",), "feature_origin": (3,),
    },
    optional={
        "feature_range": (2, "D"), "weight_range": (2, "K"), "weight_mean": ("K",), "weight_covariance": ("K", "K"),
        "weight_reach": (1,),
    },
    counts={"feature_layout": ("D", lambda layout: sum(int(size) for _, size in layout))},
    ranges=_RANGES,
    covariances=("weight_covariance",),
)  # fmt: skip


class RGBAvatar(nn.Module, BlendshapeAvatar):
    """The learnable avatar. Parameters: positions, log_scales [N,3], quats [N,4], opacity_logits [N], colors [N,3],
    delta_positions, delta_quats, delta_colors [K,N,3|4|3], and ``mlp``. Buffers bind Gaussian i to ``triangle[i]`` at
    ``barycentrics[i]``; ``feature_shift`` and ``feature_scale`` [D] standardise the MLP's input (identity in the paper;
    folded into its first layer when saved). ``feature_range`` [2,D] and ``weight_range`` [2,K] hold the lowest and the
    highest that training saw, ``weight_mean`` [K], ``weight_covariance`` [K,K] and ``weight_reach`` [1] how the weights
    lay about their mean (hold_back.py), where a file says so. A finished avatar's blendshapes may be half precision
    (``halved``): it is then for playing, and passes no gradients on.

    For the paper's ablations the mapping may be linear (one layer in ``mlp``), K may be 0 (none), and the ``space`` in
    which Gaussians lie the world's instead of the triangles': the head's joints alone then carry them (surface.py)."""

    views = ("full", "base")  # base: without blendshapes

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
        hidden: tuple[int, ...] = (128, 128),
        space: Space = "tangent",
        name: str = "avatar",
    ) -> None:
        """hidden: widths of the MLP's hidden layers; none of them is a linear map."""
        super().__init__()
        self.head, self.camera, self.name = head, camera, name
        self.space: Space = space
        self.training_record = {}
        self._packed: Packed | None = None
        self.feature_range: Tensor | None = None
        self.weight_range: Tensor | None = None
        self.weight_mean: Tensor | None = None
        self.weight_covariance: Tensor | None = None
        self.weight_reach: Tensor | None = None
        self.key_places: tuple[tuple[str, float], ...] = ()  # where each blendshape acts and its share (key_effects.py)
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
        sizes = (inputs, *hidden, blendshapes) if blendshapes else ()
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
        """Make the blendshapes half precision, for playing and for the file; not where one is too large for it, and not
        in world space: what plays halves poses triangles."""
        if self.space == "world":
            return
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
        for name in _SEEN:
            value = getattr(self, name)
            setattr(self, name, None if value is None else value.to(device))
        return self

    def features(self, params: HeadParams) -> Tensor:
        """The raw features [B,D] of B frames."""
        return frame_features(params, self.feature_origin)

    def standardised(self, features: Tensor) -> Tensor:
        """Raw features [B,D] -> the MLP's input."""
        return (features - self.feature_shift) * self.feature_scale

    def weights_of(self, features: Tensor) -> Tensor:
        """Raw features [B,D] -> blendshape weights [B,K] (eq. 2)."""
        if not len(self.mlp):
            return features.new_zeros(len(features), 0)
        *hidden, last = self.mlp
        value = self.standardised(features)
        for layer in hidden:
            value = layer(value).relu()
        weights: Tensor = last(value)
        return weights

    @property
    def hidden(self) -> tuple[int, ...]:
        """Widths of the MLP's hidden layers."""
        return tuple(len(self.mlp.get_parameter(f"{place}.bias")) for place in range(len(self.mlp) - 1))

    def weights(self, params: HeadParams, *, bounded: bool = False) -> Tensor:
        self.check(params)
        features = self.features(params)
        if bounded:
            features = self.held_back(features)
        elif self.held and self.feature_range is not None:
            features = held_features(features, self.feature_range, self.held)
        weights = self.weights_of(features)
        if self.held and (seen := self.seen_weights) is not None:
            weights = seen.held(weights, self.held)
        return weights if self.shown == "full" else torch.zeros_like(weights)

    def held_back(self, features: Tensor) -> Tensor:
        """Raw features [B,D], none beyond what training saw: outside, the MLP's answers mean nothing."""
        if self.feature_range is None:
            return features
        return features.clamp(self.feature_range[0], self.feature_range[1])

    @property
    def seen_weights(self) -> SeenWeights | None:
        """Which weights training saw; None where an older file does not say."""
        if self.weight_range is None or not self.blendshape_count:
            return None
        if self.weight_mean is None or self.weight_covariance is None or self.weight_reach is None:
            return SeenWeights.of_range(self.weight_range)
        return SeenWeights(self.weight_range, self.weight_mean, self.weight_covariance, float(self.weight_reach))

    @torch.no_grad()
    def note_seen(self, features: Tensor) -> None:
        """Remember what the training frames' raw features [F,D] and the weights of them reach."""
        seen = SeenWeights.of(self.weights_of(features))
        self.feature_range = torch.stack([features.amin(0), features.amax(0)])
        self.weight_range, self.weight_mean, self.weight_covariance = seen.range, seen.mean, seen.covariance
        self.weight_reach = seen.range.new_tensor([seen.reach])

    def drive(self, params: HeadParams, *, bounded: bool = False, vertices: Tensor | None = None) -> Gaussians:
        if self.space == "tangent":
            return super().drive(params, bounded=bounded, vertices=vertices)
        if vertices is not None:
            raise self._no_surface()
        return self.bound_gaussians(self.weights(params, bounded=bounded), self.surface_of(params))

    def gaussians(self, weights: Tensor | None, vertices: Tensor) -> Gaussians:
        """Gaussians of weights [B,K] on posed vertices [B,V,3]. weights None: the base alone (all weights zero).

        Raises InputError for an avatar in world space."""
        if self.space == "world":
            raise self._no_surface()
        if self.halved:
            return self._played(weights, vertices)
        return self.bound_gaussians(weights, self.surface(vertices))

    def _no_surface(self) -> InputError:
        return InputError(
            f"The avatar {self.name!r} was trained in world space: the head's joints carry it, and it cannot follow a "
            'deformed mesh. Give poses alone, or train it with space = "tangent".'
        )

    @torch.no_grad()
    def _played(self, weights: Tensor | None, vertices: Tensor) -> Gaussians:
        """Gaussians of half blendshapes, of their own memory."""
        batch = vertices.shape[0]
        played = PlaybackPass(batch, self.packed())
        weights = self._blended(weights)
        played.forward(vertices.contiguous(), None if weights is None else weights.contiguous())
        bound = played.gaussians
        shared = bound.scales.expand(batch, -1, -1), bound.opacities.expand(batch, -1)
        return Gaussians(bound.means, bound.quats, *shared, bound.colors)

    def surface(self, vertices: Tensor) -> Surface:
        """What carries Gaussians of the tangent space in B frames: of posed vertices [B,V,3]."""
        return tangent_surface(self.head, vertices)

    def surface_of(self, params: HeadParams) -> Surface:
        """What carries the Gaussians in B frames, in either space."""
        if self.space == "tangent":
            return self.surface(self.vertices(params))
        self.check(params)
        return joint_surface(self.head, params)

    def _blended(self, weights: Tensor | None) -> Tensor | None:
        """Weights of no blendshapes are the base alone."""
        return weights if self.blendshape_count else None

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

    def animation(self, batch: int, *, bounded: bool = False) -> Callable[[HeadParams], Gaussians]:
        if self.space == "world":
            return super().animation(batch, bounded=bounded)
        return Animation(self, batch, bounded)

    def bound_gaussians(self, weights: Tensor | None, surface: Surface) -> Gaussians:
        """Gaussians of weights [B,K] on the surface of B frames (eq. 1, 4)."""
        batch = surface.vertices.shape[0]
        if self.halved:
            return self._played(weights, surface.vertices)
        base = (self.positions, self.quats, self.colors)
        deltas = (self.delta_positions, self.delta_quats, self.delta_colors)
        means, quats, colors = blend_and_bind(base, deltas, self._blended(weights), self.carrier(surface))
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
            blendshapes=self.blendshape_count, hidden=self.hidden, space=self.space, name=self.name,
        ).to(self.positions.device)  # fmt: skip
        other.training_record, other.reference = dict(self.training_record), self.reference
        other.seen, other.held = self.seen, self.held
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
        for name in _SEEN:
            setattr(copy, name, getattr(self, name))
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
        if self.space != "tangent":
            meta["space"] = self.space
        if len(self.key_places) == self.blendshape_count > 0:
            meta["blendshape_places"] = [list(pair) for pair in self.key_places]
        return meta, self._arrays()

    def _arrays(self) -> dict[str, np.ndarray]:
        arrays = {name: getattr(self, name) for name in (*_GAUSSIAN_ARRAYS, *_DELTA_ARRAYS, "triangle", "barycentrics")}
        for place, (weight, bias) in enumerate(self._file_layers()):
            arrays |= {f"mlp.{place}.weight": weight, f"mlp.{place}.bias": bias}
        arrays |= {
            "feature_origin": self.feature_origin, "camera.K": self.camera.K, "camera.viewmat": self.camera.viewmat,
            "camera.size": torch.tensor([self.camera.width, self.camera.height]),
        }  # fmt: skip
        arrays |= {name: value for name in _SEEN if (value := getattr(self, name)) is not None}
        where = self.reference.arrays() if self.reference is not None else {}
        where |= self.seen.arrays() if self.seen is not None else {}
        return rig_arrays(self.head) | where | {name: value.detach().cpu().numpy() for name, value in arrays.items()}

    def _file_layers(self) -> list[Layer]:
        """The mapping as the file's three layers, with the standardisation folded into the first."""
        if not len(self.mlp):
            return three_layers(self.positions.new_zeros(0, len(self.feature_scale)), self.positions.new_zeros(0))
        named = dict(self.mlp.named_parameters())
        layers: list[Layer] = [(named[f"{i}.weight"], named[f"{i}.bias"]) for i in range(len(self.mlp))]
        weight = layers[0][0].double() * self.feature_scale.double()
        layers[0] = weight, layers[0][1] - weight @ self.feature_shift.double()
        return layers if len(layers) > 1 else three_layers(*(part.float() for part in layers[0]))

    @classmethod
    @torch.no_grad()
    def from_file(cls, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> RGBAvatar:
        """The avatar of a file's checked header and arrays (avatars.file.read_avatar)."""

        def tensor(name: str) -> Tensor:
            return torch.from_numpy(arrays[name])

        space = meta.get("space", "tangent")
        if space not in get_args(Space):
            raise FormatError(f"The avatar {meta['name']!r} lies in the space {space!r}; update Blendsplat to play it.")
        layers = [(tensor(f"mlp.{place}.weight"), tensor(f"mlp.{place}.bias")) for place in range(3)]
        linear = linear_of(layers)
        layers = layers if linear is None else [linear]
        width, height = (int(value) for value in arrays["camera.size"])
        avatar = cls(
            head_of_rig(meta, arrays), tensor("triangle"), tensor("barycentrics"),
            TrainingCamera(tensor("camera.K"), tensor("camera.viewmat"), width, height),
            blendshapes=len(layers[-1][1]), hidden=tuple(len(bias) for _, bias in layers[:-1]), space=space,
            name=str(meta["name"]),
        )  # fmt: skip
        for name in (*_GAUSSIAN_ARRAYS, *_DELTA_ARRAYS, "feature_origin"):
            getattr(avatar, name).copy_(tensor(name))
        if all(arrays[name].dtype == np.float16 for name in _DELTA_ARRAYS):
            avatar.halve_bases()
        for layer, (weight, bias) in zip(avatar.mlp, layers, strict=False):  # of no blendshapes there is none
            layer.get_parameter("weight").copy_(weight)
            layer.get_parameter("bias").copy_(bias)
        avatar.training_record = dict(meta["training"])
        for name in _SEEN:
            setattr(avatar, name, tensor(name) if name in arrays else None)
        avatar.key_places = _key_places(meta.get("blendshape_places"), avatar.blendshape_count)
        avatar.reference, avatar.seen = Reference.from_file(meta, arrays), Seen.from_file(arrays)
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
        self._playback.forward(vertices.contiguous(), self._avatar._blended(weights))
        return self._playback.gaussians


def _key_places(told: Any, count: int) -> tuple[tuple[str, float], ...]:
    """What a header says of each of ``count`` blendshapes; () where it says nothing that makes sense."""
    try:
        pairs = tuple((str(place), float(share)) for place, share in told)
    except (TypeError, ValueError):
        return ()
    return pairs if len(pairs) == count else ()


def gaussian_axis(name: str) -> int | None:
    """Which axis of the parameter or buffer ``name`` counts Gaussians; None for those that are not per Gaussian."""
    if name in _DELTA_ARRAYS:
        return 1
    return 0 if name in (*_GAUSSIAN_ARRAYS, "triangle", "corners", "barycentrics") else None


def features_of_colors(colors: Tensor) -> Tensor:
    """RGB -> SH-DC features."""
    return (colors - 0.5) / SH_DC
