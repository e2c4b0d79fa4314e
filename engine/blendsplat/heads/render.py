# SPDX-License-Identifier: Apache-2.0
"""Draws a textured head as a soft studio portrait: for the demo's clip, for pictures, and to detect landmarks on.

Light is gathered per vertex (a key light and a ring of sky directions, each with a small depth map, so that chins,
lids and lips cast soft shadows that follow the expression); normals, texture and highlights are evaluated per pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample, normalize

from blendsplat.geometry import vertex_normals
from blendsplat.heads.model import HeadModel
from blendsplat.splatting import rasterize_mesh

_GAMMA = 2.2
_SKY_DIRECTIONS = 14
_MAP_SIZE = 144  # pixels of a depth map over _MAP_EXTENT metres
_MAP_EXTENT = 0.46
_MAP_DISTANCE = 12.0  # far enough that the pinhole is as good as parallel
_MAP_BIAS = 0.0035
_BOUNCE = (0.13, 0.085, 0.075)
# how far light reaches into the mouth (metres), and how much more than is seen of it: enamel and flesh pass it on
_MOUTH_LIGHT = {"mouth_interior": (0.022, 1.0), "tongue": (0.045, 1.7)}
_CORNEA, _CORNEA_EDGE = 1.75, 0.42  # how much rounder than its ball an eye is in front, and up to which sine
_LAMP_EDGE = 0.991  # cosine of half the angle that the lamp's mirror image fills in a wet eye


@dataclass(frozen=True)
class Light:
    """A key light and a sky, in world space (it does not turn with the head). Colours are linear."""

    direction: tuple[float, float, float] = (-0.42, 0.50, 0.76)  # towards the light
    key: tuple[float, float, float] = (1.75, 1.66, 1.55)
    fill_direction: tuple[float, float, float] = (0.85, 0.05, 0.5)
    fill: tuple[float, float, float] = (0.26, 0.29, 0.34)
    sky: tuple[float, float, float] = (0.58, 0.61, 0.66)
    ground: tuple[float, float, float] = (0.34, 0.30, 0.27)
    softness: float = 0.22  # how far light wraps round into the shadow


@dataclass(frozen=True)
class Props:
    """What else stands in the picture (a shirt, hair): world points [P,3], faces [Q,3], sRGB colours [P,3].

    normals [P,3]: where they are not 0, they stand in for the faces' own. tangents [P,3]: where they are not 0, the
    point is hair that runs along them, and gleams as hair does. lit_as [P]: the point of these whose light each takes;
    without it, each its own.
    """

    points: Tensor
    faces: Tensor
    colors: Tensor
    normals: Tensor | None = None
    tangents: Tensor | None = None
    lit_as: Tensor | None = None


@torch.no_grad()
def render_views(
    head: HeadModel,
    points: Tensor,
    texture: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    light: Light = Light(),
    supersample: int = 2,
    props: Props | None = None,
) -> Tensor:
    """One posed head [V,3] (metres), with props, from C cameras; the light is gathered once. Otherwise as render_head:
    texture [H,W,3], cameras [C,...] -> RGBA float32 [C,height,width,4]."""
    linear = _with_relief(texture.to(torch.float32).clamp(0, 1).pow(_GAMMA).permute(2, 0, 1)[None])
    scale = torch.diag(torch.tensor([supersample, supersample, 1.0]))
    lit = _light_up(head, points.float(), light, props)
    faces = lit.faces.to(torch.int32)
    images = []
    for viewmat, K in zip(viewmats.float(), Ks.float(), strict=True):
        size = (width * supersample, height * supersample)
        ids, barycentrics, _ = rasterize_mesh(lit.points[None], faces, viewmat[None], (scale @ K)[None], *size)
        rgb = _shade(head, lit, linear, viewmat, light, ids[0], barycentrics[0])
        images.append(_encode(rgb, ids[0] >= 0, supersample))
    return torch.stack(images)


@torch.no_grad()
def render_head(
    head: HeadModel,
    vertices: Tensor,
    texture: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    light: Light = Light(),
    supersample: int = 2,
) -> Tensor:
    """Vertices [B,V,3] (posed, metres), texture [H,W,3] sRGB in [0,1] with v = 1 in its first row, cameras [B,...]
    -> RGBA float32 [B,height,width,4], display-referred sRGB, premultiplied."""
    frames = zip(vertices, viewmats, Ks, strict=True)
    return torch.cat(
        [render_views(head, v, texture, m[None], K[None], width, height, light, supersample) for v, m, K in frames]
    )


def _with_relief(linear: Tensor) -> Tensor:
    """Linear texture [1,3,H,W] with a fourth channel: how much brighter each texel is than those around it, as a share.

    Pores, creases and hairs are darker than the skin around them and shine less: without that, highlights are wax.
    """
    grey = linear.mean(1, keepdim=True)
    around = grey
    for kernel, pad in (((7, 1), (3, 0)), ((1, 7), (0, 3))):  # a square in two passes
        around = torch.nn.functional.avg_pool2d(around, kernel, 1, pad, count_include_pad=False)
    return torch.cat([linear, (grey / around.clamp_min(1e-4) - 1).clamp(-0.5, 0.5)], 1).contiguous()


def _surface_of(head: HeadModel) -> Tensor:
    """Per vertex [V,4]: broad gloss, sharp gloss, openness to light, wetness of eyes."""
    surface = torch.zeros(head.vertex_count, 4)
    surface[:, 0], surface[:, 1], surface[:, 2] = 0.42, 0.03, 1.0
    for name, broad, sharp, wet in (
        ("face", 0.55, 0.05, 0.0), ("nose", 0.65, 0.10, 0.0), ("scalp", 0.50, 0.02, 0.0),
        ("left_eyelids", 0.45, 0.03, 0.0), ("right_eyelids", 0.45, 0.03, 0.0),
        ("lips", 0.55, 0.28, 0.0), ("mouth_interior", 0.1, 0.1, 0.0),
        ("tongue", 0.3, 0.25, 0.0), ("teeth_upper", 0.2, 0.5, 0.0), ("teeth_lower", 0.2, 0.5, 0.0),
        ("left_eyeball", 0.0, 0.0, 1.0), ("right_eyeball", 0.0, 0.0, 1.0),
    ):  # fmt: skip
        if name in head.regions:
            rows = torch.from_numpy(head.regions[name])
            surface[rows, 0], surface[rows, 1], surface[rows, 3] = broad, sharp, wet
    for name in ("mouth_interior", "teeth_upper", "teeth_lower", "tongue"):
        if name in head.regions and len(head.regions[name]):
            # What light enters the mouth fades with depth; the depth maps alone are too coarse to say so.
            rows = torch.from_numpy(head.regions[name])
            behind = head.template[rows, 2].max() - head.template[rows, 2]
            reach, passed_on = _MOUTH_LIGHT.get(name, (0.03, 1.4))
            surface[rows, 2] = torch.exp(-behind / reach).clamp(0.12, 0.95) * passed_on
    return surface


@dataclass(frozen=True)
class _Lit:
    """A head with its props and the light that its vertices gather."""

    points: Tensor  # [V+P,3]
    faces: Tensor  # [F+Q,3], the head's first
    colors: Tensor  # [V+P,3] linear; only the props' are used
    packed: Tensor  # [V+P,16]: normal, ambient light, key light seen, glosses, wetness, point, the eye's wet normal
    tangents: Tensor | None  # [V+P,3] along hair, 0 where there is none


def _light_up(head: HeadModel, points: Tensor, light: Light, props: Props | None) -> _Lit:
    surface, faces, colors = _surface_of(head), head.faces, torch.zeros_like(points)
    own, tangents = points, None
    if props is not None:
        extra = surface.new_tensor([0.1, 0.0, 1.0, 0.0]).expand(len(props.points), 4)
        surface, faces = torch.cat([surface, extra]), torch.cat([faces, props.faces + len(points)])
        colors = torch.cat([colors, props.colors.float().clamp(0, 1).pow(_GAMMA)])
        points = torch.cat([points, props.points.float()])
    rows, whose = None, None
    if props is not None and props.normals is not None:
        given = torch.cat([torch.zeros_like(own), props.normals.float()])
        has_own = (given != 0).any(-1, keepdim=True)
        normals = torch.where(has_own, given, vertex_normals(points[None], faces[~has_own[faces[:, 0], 0]])[0])
    else:
        normals = vertex_normals(points[None], faces)[0]
    if props is not None and props.tangents is not None:
        tangents = torch.cat([torch.zeros_like(own), props.tangents.float()])
    if props is not None and props.lit_as is not None:
        rows, whose = torch.cat([torch.arange(len(own)), props.lit_as + len(own)]).unique(return_inverse=True)
    key_seen, ambient = _gather_light(faces, points, normals, light, rows)
    if whose is not None:
        key_seen, ambient = key_seen[whose], ambient[whose]
    openness = surface[:, 2:3]
    packed = torch.cat(
        [normals, ambient * openness, key_seen[:, None] * openness, surface[:, :2], surface[:, 3:], points,
         _wet_normals(head, normals)], -1
    )  # fmt: skip
    return _Lit(points, faces, colors, packed, tangents)


def _wet_normals(head: HeadModel, normals: Tensor) -> Tensor:
    """Normals [V+P,3] that highlights see: an eye's bulge more than its ball, because the cornea is rounder."""
    wet = normals.clone()
    for name in ("left_eyeball", "right_eyeball"):
        rows = torch.from_numpy(head.regions.get(name, np.zeros(0, np.int64)))
        if len(rows) == 0:
            continue
        pole = rows[head.template[rows, 2].argmax()]
        axis = normals[pole]
        along = (normals[rows] @ axis)[:, None]
        aside = normals[rows] - along * axis
        rounder = 1 + (_CORNEA - 1) * torch.sigmoid((_CORNEA_EDGE - aside.norm(dim=1, keepdim=True)) / 0.03)
        wet[rows] = normalize(along.clamp_min(0.05) * axis + rounder * aside, dim=-1)
    return wet


def _albedo(head: HeadModel, lit: _Lit, texture: Tensor, face: Tensor, weights: Tensor) -> Tensor:
    """Linear base colour and relief [P,4] of pixels: the head's from its texture, the props' from their vertices."""
    own = face < len(head.faces)
    uv = _interpolate(head.uvs, head.uv_faces[face[own]], weights[own])
    grid = torch.stack([uv[:, 0] * 2 - 1, 1 - uv[:, 1] * 2], -1)[None, None]
    albedo = torch.zeros(len(face), 4)
    albedo[own] = grid_sample(texture, grid, mode="bilinear", padding_mode="border", align_corners=False)[0, :, 0].T
    albedo[~own, :3] = _interpolate(lit.colors, lit.faces[face[~own]], weights[~own])
    return albedo


def _shade(
    head: HeadModel, lit: _Lit, texture: Tensor, viewmat: Tensor, light: Light, ids: Tensor, barycentrics: Tensor
) -> Tensor:
    """Linear colour [H,W,3] of every pixel; 0 where there is no head."""
    covered = (ids >= 0).flatten().nonzero()[:, 0]
    face = ids.flatten()[covered].long()
    weights = barycentrics.reshape(-1, 3)[covered]
    pixel = _interpolate(lit.packed, lit.faces[face], weights)
    albedo, relief = _albedo(head, lit, texture, face, weights).split((3, 1), 1)

    normal, seen = normalize(pixel[:, :3], dim=-1), pixel[:, 6:7]
    eye = -viewmat[:3, :3].T @ viewmat[:3, 3]
    to_eye = normalize(eye - pixel[:, 10:13], dim=-1)
    # Cloth and hair have two sides; a head that shows its inside shows a fault.
    back = (face >= len(head.faces))[:, None] & ((normal * to_eye).sum(-1, keepdim=True) < 0)
    normal = torch.where(back, -normal, normal)
    towards_key = normalize(torch.tensor(light.direction), dim=0)
    facing = (normal @ towards_key)[:, None]
    # Blood scatters red light further: the terminator is softer in red.
    wrap = light.softness * torch.tensor([1.0, 0.55, 0.4])
    diffuse = ((facing + wrap) / (1 + wrap)).clamp_min(0).pow(1.15) * seen * torch.tensor(light.key)
    halfway = normalize(to_eye + towards_key, dim=-1)
    cosine = (normal * halfway).sum(-1, keepdim=True).clamp_min(0)
    wet_cosine = (normalize(pixel[:, 13:16], dim=-1) * halfway).sum(-1, keepdim=True)
    highlight = pixel[:, 7:8] * 0.10 * cosine.pow(14) + pixel[:, 8:9] * 0.35 * cosine.pow(70)
    highlight = highlight * seen * (1 + 2.4 * relief).clamp(0.2, 1.7)
    highlight = highlight + pixel[:, 9:10] * 3.0 * torch.sigmoid((wet_cosine - _LAMP_EDGE) * 1500)
    # Seen along the surface, skin mirrors the sky: what tells dark skin from dark paint.
    grazing = (1 - (normal * to_eye).sum(-1, keepdim=True).clamp(0, 1)).pow(4)
    sheen = (0.17 * pixel[:, 7:8] + 0.10 * pixel[:, 9:10]) * grazing * pixel[:, 3:6] * (1 + relief)
    colour = torch.zeros(ids.numel(), 3)
    lit_up = albedo * (diffuse + pixel[:, 3:6]) * 0.62
    colour[covered] = lit_up + highlight * torch.tensor(light.key) * 0.5 + sheen * 0.62
    if lit.tangents is not None:
        colour[covered] += _hair_gleam(lit, face, weights, albedo, facing, seen, halfway) * torch.tensor(light.key)
    return colour.reshape(*ids.shape, 3)


def _hair_gleam(
    lit: _Lit, face: Tensor, weights: Tensor, albedo: Tensor, facing: Tensor, seen: Tensor, halfway: Tensor
) -> Tensor:
    """Highlights [P,3] across strands (after Kajiya and Kay 1989): a white one, and one that went through the hair."""
    assert lit.tangents is not None
    gleam = torch.zeros_like(albedo)
    corners = lit.faces[face]
    hair = ((lit.tangents[corners[:, 0]] != 0).any(-1)).nonzero()[:, 0]
    tangent = normalize(_interpolate(lit.tangents, corners[hair], weights[hair]), dim=-1)
    along = (tangent * halfway[hair]).sum(-1, keepdim=True)
    lobe, broad = (1 - (along + 0.10).square()).clamp_min(0), (1 - (along - 0.12).square()).clamp_min(0)
    lights = ((facing[hair] + 0.25) / 1.25).clamp(0, 1) * seen[hair]
    gleam[hair] = lights * (0.022 * lobe.pow(45) + albedo[hair].sqrt() * albedo[hair] * 0.26 * broad.pow(9))
    return gleam


def _interpolate(values: Tensor, corners: Tensor, weights: Tensor) -> Tensor:
    """Values [V,C] at pixels: corners [P,3], weights [P,3] -> [P,C]."""
    total = values[corners[:, 0]] * weights[:, :1]
    total.addcmul_(values[corners[:, 1]], weights[:, 1:2])
    return total.addcmul_(values[corners[:, 2]], weights[:, 2:])


def _gather_light(
    faces: Tensor, points: Tensor, normals: Tensor, light: Light, rows: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """How much of the key light every vertex sees [V], and the colour of all other light [V,3]; only of ``rows`` [R]
    where they are given, all faces casting shadows."""
    sky = _sphere_directions(_SKY_DIRECTIONS)
    directions = normalize(torch.cat([torch.tensor([light.direction, light.fill_direction]), sky]), dim=-1)
    if rows is not None:
        number = torch.full((len(points),), -1).index_put_((rows,), torch.arange(len(rows)))
        numbered = number[faces]
        seen = _visibility(points, faces, directions, points[rows], normals[rows])
        normals, faces = normals[rows], numbered[(numbered >= 0).all(1)]
    else:
        seen = _visibility(points, faces, directions, points, normals)
    facing = (normals @ directions.T).clamp_min(0)
    upwards = 0.5 + 0.5 * sky[:, 1:2]
    colours = torch.tensor(light.ground) * (1 - upwards) + torch.tensor(light.sky) * upwards
    ambient = (facing[:, 2:] * seen[:, 2:]) @ colours * (4.0 / _SKY_DIRECTIONS)
    fill = (facing[:, 1] * seen[:, 1])[:, None] * torch.tensor(light.fill)
    # Light that has bounced off skin reaches even the mouth; and shadows are softer than the mesh is fine.
    return _smooth(seen[:, :1], faces)[:, 0], _smooth(ambient + fill, faces) + torch.tensor(_BOUNCE)


def _smooth(values: Tensor, faces: Tensor, rounds: int = 2) -> Tensor:
    """Average values [V,C] over the faces round each vertex, a few times."""
    count = values.new_zeros(len(values), 1).index_add_(0, faces.flatten(), values.new_ones(faces.numel(), 1))
    alone = count == 0
    for _ in range(rounds):
        per_face = values[faces].mean(1).repeat_interleave(3, 0)
        around = torch.zeros_like(values).index_add_(0, faces.flatten(), per_face) / count.clamp_min(1)
        values = torch.where(alone, values, around)
    return values


def _sphere_directions(count: int) -> Tensor:
    """Unit vectors [count,3] spread evenly over the sphere (a golden spiral)."""
    index = torch.arange(count) + 0.5
    y = 1 - 2 * index / count
    around = index * 2.399963
    radius = (1 - y * y).sqrt()
    return torch.stack([radius * around.cos(), y, radius * around.sin()], -1)


def _visibility(points: Tensor, faces: Tensor, directions: Tensor, at: Tensor, normals: Tensor) -> Tensor:
    """Soft visibility [R,D] of distant points in D directions from the places ``at`` [R,3] with ``normals`` [R,3], from
    one small depth map of the faces each."""
    centre = 0.5 * (points.amax(0) + points.amin(0))
    views = torch.stack([_look_from(centre, direction) for direction in directions])
    focal = _MAP_SIZE * _MAP_DISTANCE / _MAP_EXTENT
    K = torch.tensor([[focal, 0, _MAP_SIZE / 2], [0, focal, _MAP_SIZE / 2], [0, 0, 1]])
    count = len(directions)
    _, _, depth = rasterize_mesh(
        points.expand(count, -1, -1), faces.to(torch.int32), views, K.expand(count, 3, 3), _MAP_SIZE, _MAP_SIZE
    )
    depth = torch.where(depth > 0, depth, torch.full_like(depth, 1e6))
    lifted = at + 0.0015 * normals
    camera = lifted @ views[:, :3, :3].transpose(1, 2) + views[:, None, :3, 3]
    pixel = camera[..., :2] / camera[..., 2:] * focal + _MAP_SIZE / 2 - 0.5
    base = pixel.floor()
    part = pixel - base
    rows = torch.arange(count)[:, None]
    total = torch.zeros(count, len(at))
    for down in (0, 1):
        for right in (0, 1):
            column = (base[..., 0].long() + right).clamp(0, _MAP_SIZE - 1)
            row = (base[..., 1].long() + down).clamp(0, _MAP_SIZE - 1)
            clear = ((depth[rows, row, column] - camera[..., 2] + _MAP_BIAS) / _MAP_BIAS).clamp(0, 1)
            weight = (part[..., 0] if right else 1 - part[..., 0]) * (part[..., 1] if down else 1 - part[..., 1])
            total += clear * weight
    return total.T


def _look_from(centre: Tensor, direction: Tensor) -> Tensor:
    """World-to-camera matrix of an eye far away in a direction, looking at the centre."""
    forward = -direction
    helper = torch.tensor([0.0, 1.0, 0.0]) if forward[1].abs() < 0.9 else torch.tensor([1.0, 0.0, 0.0])
    right = normalize(torch.linalg.cross(forward, helper), dim=0)
    rotation = torch.stack([right, torch.linalg.cross(forward, right), forward])
    view = torch.eye(4)
    view[:3, :3] = rotation
    view[:3, 3] = -rotation @ (centre + direction * _MAP_DISTANCE)
    return view


def _encode(linear: Tensor, covered: Tensor, supersample: int) -> Tensor:
    """Linear colour [H,W,3] and coverage -> premultiplied display-referred RGBA; subpixels are averaged in light."""
    stacked = torch.cat([linear, covered[..., None].float()], -1)
    height, width = covered.shape[0] // supersample, covered.shape[1] // supersample
    small = stacked.reshape(height, supersample, width, supersample, 4).mean((1, 3))
    alpha = small[..., 3:]
    colour = (small[..., :3] / alpha.clamp_min(1e-6)).clamp(0, 4)
    # A shoulder instead of clipping, so that highlights keep their colour.
    colour = torch.where(colour > 0.7, 0.7 + 0.3 * torch.tanh((colour - 0.7) / 0.3), colour).pow(1 / _GAMMA)
    return torch.cat([colour * alpha, alpha], -1)
