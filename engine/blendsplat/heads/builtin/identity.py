# SPDX-License-Identifier: Apache-2.0
"""Identity: named directions in which heads differ, one plausible standard deviation (mm) at coefficient 1.

Each is a smooth displacement field drawn on the neutral head. Eyes and ears ride along as rigid pieces (see
``_carry``).
"""

from __future__ import annotations

import numpy as np

from blendsplat.heads.builtin import ears, eyes
from blendsplat.heads.builtin.chart import Chart, vector
from blendsplat.heads.builtin.curves import Array, band, bump, fade, spot, uneven
from blendsplat.heads.builtin.mesh import Mesh
from blendsplat.heads.builtin.relief import MOUTH_X, MOUTH_Y, lower_lip_height, upper_lip_height
from blendsplat.heads.builtin.rig import lid_direction
from blendsplat.heads.builtin.skin import hair_mask

Fields = dict[str, Array]

# The fields are drawn as if each were alone; where several overlap, their variances add up, so all are taken down.
_SPREAD = 0.8


def identity_directions(mesh: Mesh, chart: Chart) -> tuple[tuple[str, ...], Array, Array]:
    """Names [S], vertex directions [S,V,3] and joint directions [S,5,3], in millimetres."""
    n = chart.vertex_count
    fields: Fields = {}
    for group in (
        _cranium,
        _face,
        _jaw,
        _cheeks_and_age,
        _brow,
        _eyes,
        _nose,
        _mouth,
        _ears_and_neck,
        _hair,
        _asymmetry,
    ):
        fields |= group(chart)
    carried = {name: _SPREAD * _carry(mesh, chart, field) for name, field in fields.items()}
    carried |= {name: _slide_on_eyes(chart, field) for name, field in _lids(chart).items()}
    for name, (upper, lower) in {"eye_opening": (-0.07, -0.06), "upper_lid_droop": (0.06, 0.0)}.items():
        lids = lid_direction(mesh, 1, upper, lower) + lid_direction(mesh, -1, upper, lower)
        carried[name] = np.concatenate([lids, np.zeros((7, 3))])
    stacked = np.stack(list(carried.values()))
    return tuple(carried), stacked[:, :n], stacked[:, n : n + 5]


def _carry(mesh: Mesh, chart: Chart, field: Array) -> Array:
    """Move eyeballs and ears by what their probes do, and blend the skin round the eyes into that."""
    n = chart.vertex_count
    carried = field.copy()
    carried[:n][mesh.of("left_ear")] += field[n + 5]
    carried[:n][mesh.of("right_ear")] += field[n + 6]
    for side, probe, name in ((1, n + 3, "left_eyeball"), (-1, n + 4, "right_eyeball")):
        carried[:n][mesh.of(name)] = field[probe]
        distance = np.hypot(chart.x - side * eyes.EYE_X, chart.y - eyes.EYE_Y)
        lids = (fade(25, 15, distance) * chart.front * (chart.z > 45))[:, None]
        carried = carried * (1 - lids) + lids * field[probe]
    return carried


def _cranium(c: Chart) -> Fields:
    above = fade(-30, 40, c.y)
    upper_front = fade(20, 70, c.z) * c.skin
    return {
        "cranium_width": vector(x=3.6 * c.x / 73 * above * c.skin),
        "cranium_height": vector(y=5.0 * fade(22, 95, c.y) * c.skin),
        "cranium_length": vector(z=-6.0 * fade(25, -75, c.z) * fade(-85, 0, c.y) * c.skin),
        "forehead_slope": vector(z=-5.0 * fade(22, 85, c.y) * upper_front),
        "forehead_bulge": vector(z=3.0 * spot(c.ax, c.y, (22, 52), (28, 20)) * c.front),
        "temple_width": 2.6 * (spot(c.angle, c.y, (62, 28), (22, 24)) * c.skin)[:, None] * c.normal,
    }


def _face(c: Chart) -> Fields:
    lower = fade(4, -108, c.y) * fade(-198, -128, c.y)
    middle = band(-58, 8, 38, c.y)
    return {
        "face_width": vector(x=3.4 * c.x / 70 * middle * fade(-45, 10, c.z)),
        "face_length": vector(y=-5.0 * lower * fade(-75, -10, c.z)),
        "midface_length": vector(y=-3.0 * fade(-2, -44, c.y) * fade(-150, -80, c.y) * fade(-20, 40, c.z)),
        "face_convexity": vector(z=3.5 * spot(c.ax, c.y, (0, -34), (48, 36)) * fade(10, 60, c.z)),
        "midface_flatness": vector(z=-3.0 * spot(c.ax, c.y, (34, -18), (20, 22)) * c.front),
    }


def _jaw(c: Chart) -> Fields:
    below = fade(-45, -90, c.height) * fade(-140, -112, c.height) * c.skin
    chin = bump(c.ax, 22) * uneven(c.height, -100, 16, 22) * c.front
    return {
        "jaw_width": vector(x=3.6 * c.side * fade(8, 50, c.ax) * below * fade(-40, 10, c.z)),
        "jaw_angle_height": vector(y=-5.0 * spot(c.angle, c.height, (74, -92), (24, 26)) * c.skin),
        "jaw_squareness": vector(x=3.0 * c.side * spot(c.ax, c.height, (36, -98), (12, 16)) * c.front),
        "chin_length": vector(
            y=-4.0 * bump(c.ax, 30) * fade(-80, -108, c.height) * fade(-150, -116, c.height) * c.front
        ),
        "chin_width": vector(x=3.0 * c.x / 20 * bump(c.ax, 26) * uneven(c.height, -100, 14, 18) * c.front),
        "chin_projection": vector(z=4.0 * chin),
        "chin_cleft": vector(z=-1.6 * spot(c.ax, c.y, (0, -99), (3.6, 7)) * c.front),
        "mentolabial_depth": vector(z=-1.8 * bump(c.ax, 18) * bump(c.y + 84, 6) * c.front),
        "submental_fullness": 5.0
        * (uneven(c.height, -121, 9, 14) * fade(70, 15, c.angle) * c.skin)[:, None]
        * c.normal,
        "overbite": vector(z=-2.5 * c.below_mouth * fade(-150, -100, c.height) * fade(30, 60, c.z) * c.soft),
    }


def _cheeks_and_age(c: Chart) -> Fields:
    fold = bump(c.ax - (15.5 + 0.40 * (-38 - c.flat_y)), 4.5) * band(-70, -40, 10, c.flat_y) * c.front
    jowl = spot(c.ax, c.flat_y, (38, -95), (12, 14)) * c.front
    hollow = spot(c.ax, c.flat_y, (45, -58), (14, 18)) * c.front
    return {
        "cheekbone_projection": 2.4 * (spot(c.ax, c.flat_y, (45, -22), (15, 12)) * c.front)[:, None] * c.normal,
        "cheekbone_width": vector(x=2.4 * c.side * spot(c.angle, c.y, (62, -22), (20, 16)) * c.skin),
        "cheek_fullness": 3.4 * hollow[:, None] * c.normal,
        "lower_cheek_fullness": 3.4 * (spot(c.angle, c.height, (58, -82), (20, 18)) * c.skin)[:, None] * c.normal,
        "nasolabial_depth": vector(z=-1.4 * fold),
        "age_sagging": vector(y=-3.0 * jowl, z=1.8 * jowl - 1.2 * fold)
        + (-1.6 * hollow)[:, None] * c.normal
        + vector(y=-1.4 * spot(c.ax, c.y, (0, -36), (11, 9)) * c.front),
    }


def _brow(c: Chart) -> Fields:
    row = bump(c.ax - 27, 24, 4) * fade(2, 12, c.y) * bump(np.maximum(c.y - 22, 0), 16) * c.front
    return {
        "brow_height": vector(y=2.6 * row),
        "brow_ridge": vector(z=2.6 * bump(c.ax - 24, 24, 4) * bump(c.y - 19, 8) * c.front),
        "brow_tilt": vector(y=2.2 * row * np.clip((c.ax - 27) / 18, -1.2, 1.2)),
        "brow_arch": vector(
            y=2.0 * (spot(c.ax, c.y, (32, 18), (10, 12)) - 0.6 * spot(c.ax, c.y, (14, 17), (8, 10))) * c.front
        ),
        "glabella_depth": vector(z=-2.0 * spot(c.ax, c.y, (0, 14), (11, 11)) * c.front),
    }


def _eyes(c: Chart) -> Fields:
    near = spot(c.ax, c.y, (eyes.EYE_X, 0), (26, 22), 3) * c.skin * (c.z > 20)
    return {
        "eye_distance": vector(x=1.7 * c.side * near),
        "eye_height": vector(y=1.8 * near),
        "eye_depth": vector(z=-2.0 * near),
        "socket_depth": vector(z=-2.0 * band(7, 14, 4, c.y) * bump(c.ax - 28, 18, 4) * c.front),
    }


def _lids(c: Chart) -> Fields:
    """What the lids do by themselves, without the eyes."""
    bag, fold = spot(c.ax, c.y, (31, -12), (13, 4.5)) * c.front, spot(c.ax, c.y, (32, 10.5), (15, 3.6)) * c.front
    along = np.clip((c.ax - eyes.EYE_X) / 15.5, -1.4, 1.4)
    lids = fade(27, 12, np.hypot((c.ax - eyes.EYE_X) * 0.8, c.y - eyes.EYE_Y)) * c.front
    return {
        "eye_tilt": vector(y=1.3 * along * lids),
        "eye_bags": vector(y=-0.6 * bag, z=1.6 * bag),
        "eyelid_fullness": vector(y=-1.0 * fold, z=1.5 * fold),
        "eye_length": vector(x=1.2 * c.side * along * lids, z=-0.5 * np.clip(along, 0, 1) ** 2 * lids),
    }


def _slide_on_eyes(c: Chart, field: Array) -> Array:
    """Lids may slide on the eyeball, but neither into it nor off it: take away what points along its radius."""
    radial = np.stack([c.x - c.side * eyes.EYE_X, c.y - eyes.EYE_Y, c.z - eyes.EYE_Z], -1)
    distance = np.linalg.norm(radial, axis=-1, keepdims=True)
    radial = radial / np.maximum(distance, 1e-9)
    slid = field - (field * radial).sum(-1, keepdims=True) * radial * fade(17, 14.4, distance)
    slid[c.vertex_count :] = 0.0
    return slid


def _nose(c: Chart) -> Fields:
    xn, y, f = c.ax, c.y, c.front
    below_root = fade(6, -34, y) * fade(-58, -45, y)
    tip = spot(xn, y, (0, -36), (13, 11)) * f
    base = spot(xn, y, (0, -42), (18, 9)) * f
    wings = spot(xn, y, (13.5, -38.5), (6.5, 9)) * f
    bridge = bump(xn, 8) * f
    return {
        "nose_length": vector(y=-3.2 * bump(xn, 20) * below_root * f),
        "nose_projection": vector(z=3.0 * bump(xn, 13) * fade(0, -34, y) * fade(-52, -44, y) * f),
        "nose_width": vector(x=1.7 * c.side * wings * fade(1, 9, xn)),
        "nose_bridge_height": vector(z=2.2 * bridge * uneven(y, -8, 14, 18)),
        "nose_bridge_width": vector(x=1.2 * c.side * spot(xn, y, (8.5, -10), (6, 18)) * f),
        "nose_hump": vector(z=1.7 * bridge * bump(y + 17, 8)),
        "nose_root_height": vector(z=2.0 * spot(xn, y, (0, 5), (9, 9)) * f),
        "nose_tip_height": vector(y=2.4 * tip, z=-0.4 * tip),
        "nose_tip_width": vector(
            x=1.3 * c.side * spot(xn, y, (6, -35.5), (5, 8)) * f, z=0.5 * spot(xn, y, (7, -35.5), (4, 6)) * f
        ),
        "nose_wing_height": vector(y=1.5 * wings),
        "columella_drop": vector(y=-1.5 * bump(xn, 6) * bump(y + 44, 4) * f),
        "nose_base_depth": vector(z=-1.6 * base * fade(6, 14, xn)),
    }


def _mouth(c: Chart) -> Fields:
    around = spot(c.ax, c.y, (0, MOUTH_Y), (34, 15), 3) * c.soft * (c.z > 20)
    up, down = (
        (c.y - MOUTH_Y) / np.maximum(upper_lip_height(c.x), 2),
        (MOUTH_Y - c.y) / np.maximum(lower_lip_height(c.x), 2),
    )
    inside = np.clip(1 - (c.ax / (MOUTH_X + 3)) ** 2, 0, 1) * c.soft * (c.z > 50)
    upper = inside * (1 - c.below_mouth) * fade(0, 0.6, up) * bump(up - 0.85, 0.7)
    lower = inside * c.below_mouth * fade(0, 0.6, down) * bump(down - 0.85, 0.7)
    philtrum = band(-57, -49, 4, c.y) * c.front
    return {
        "mouth_width": vector(
            x=2.0 * c.side * fade(0, 25, c.ax) * fade(46, 27, c.ax) * bump(c.y - MOUTH_Y, 16) * c.soft * (c.z > 20)
        ),
        "mouth_height": vector(y=2.0 * around),
        "mouth_projection": vector(z=2.2 * spot(c.ax, c.y, (0, MOUTH_Y), (25, 15)) * c.soft * (c.z > 20)),
        "upper_lip_fullness": vector(y=1.1 * upper, z=1.3 * inside * (1 - c.below_mouth) * bump(up - 0.55, 0.5)),
        "lower_lip_fullness": vector(y=-1.1 * lower, z=1.4 * inside * c.below_mouth * bump(down - 0.5, 0.5)),
        "cupids_bow": vector(
            y=0.8 * inside * (1 - c.below_mouth) * bump(up - 1, 0.5) * (bump(c.ax - 6, 3.5) - 1.1 * bump(c.ax, 3))
        ),
        "philtrum_depth": vector(z=-1.0 * philtrum * (bump(c.ax, 2.8) - 0.6 * bump(c.ax - 5.5, 2.2))),
        "mouth_corner_height": vector(y=1.5 * spot(c.ax, c.y, (MOUTH_X, MOUTH_Y), (10, 10)) * c.soft * (c.z > 20)),
    }


def _ears_and_neck(c: Chart) -> Fields:
    _, ey, ez = ears.EAR_CENTRE
    neck = fade(-112, -135, c.height) * c.skin
    outwards = np.stack([c.x / 55, np.zeros_like(c.x), (c.z + 25) / 55], -1)
    rise = np.clip((c.ax - 64) / 14, 0, 1.3) * c.ears
    return {
        "ear_size": vector(y=0.075 * (c.y - ey) * c.ears, z=0.075 * (c.z - ez) * c.ears),
        "ear_protrusion": vector(x=4.0 * c.side * rise * np.clip((ez + 12 - c.z) / 20, 0, 1.4)),
        "ear_height": vector(y=3.0 * c.ears),
        "ear_lobe": vector(y=-2.5 * fade(-28, -42, c.y) * c.ears),
        "neck_width": 3.6 * neck[:, None] * outwards * [1, 0, 0.3],
        "neck_depth": 3.6 * neck[:, None] * outwards * [0, 0, 1],
        "larynx": vector(z=2.6 * spot(c.angle, c.height, (0, -147), (14, 9)) * c.skin),
        "shoulder_slope": vector(y=4.0 * fade(-150, -200, c.height) * fade(30, 85, c.ax) * c.skin),
    }


def _hair(c: Chart) -> Fields:
    """Hair is volume on the scalp: the mesh follows its outline, the hairline stays."""
    hair = hair_mask(c.angle, c.height)
    top = fade(35, 95, c.height)
    return {
        "hair_volume": 4.0 * (hair * c.skin)[:, None] * c.normal,
        "hair_top": vector(y=5.0 * hair * top * c.skin),
        "hair_sides": vector(x=3.5 * c.side * hair * band(-10, 50, 25, c.height) * bump(c.angle - 100, 45) * c.skin),
        "hair_back": vector(z=-4.5 * hair * fade(115, 165, c.angle) * c.skin),
        "hair_fringe": vector(
            y=-1.5 * spot(c.ax, c.height, (0, 64), (40, 14)) * c.skin,
            z=3.5 * spot(c.ax, c.height, (0, 74), (45, 16)) * c.skin,
        ),
    }


def _asymmetry(c: Chart) -> Fields:
    return {
        "asymmetry_jaw": vector(x=2.0 * fade(-60, -105, c.y) * fade(-150, -112, c.y) * fade(0, 50, c.z)),
        "asymmetry_nose": vector(x=1.4 * spot(c.ax, c.y, (0, -33), (18, 15)) * c.front),
        "asymmetry_mouth": vector(
            y=1.2 * np.clip(c.x / 25, -1, 1) * spot(c.ax, c.y, (20, MOUTH_Y), (16, 14)) * c.soft * (c.z > 20)
        ),
        "asymmetry_brows": vector(y=1.3 * c.side * bump(c.ax - 28, 22, 4) * uneven(c.y, 18, 16, 8) * c.front),
        "asymmetry_cheeks": 1.5 * (c.side * spot(c.ax, c.flat_y, (46, -50), (16, 26)) * c.front)[:, None] * c.normal,
    }
