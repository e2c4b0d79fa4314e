# SPDX-License-Identifier: Apache-2.0
"""Expressions: ARKit's names where a shape is right, and further ones; coefficients run from 0 to 1.

jawOpen and the eight eyeLook* are joints here, so they are not shapes (they would double what the joints do):
``ARKIT_JOINTS`` says which rotation a coefficient of 1 stands for. mouthClose = 1 brings the lips together over a jaw
opened by ``MOUTH_CLOSE_ANGLE``. Left is the person's left, +x.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from blendsplat.heads.builtin.chart import JOINTS_MM, Chart, vector
from blendsplat.heads.builtin.curves import Array, band, bump, fade, spot, uneven
from blendsplat.heads.builtin.mesh import Mesh
from blendsplat.heads.builtin.relief import MOUTH_X, MOUTH_Y
from blendsplat.heads.builtin.rig import lid_direction

Fields = dict[str, Array]

JAW_OPEN_ANGLE = 0.32  # radians about x at jawOpen = 1
MOUTH_CLOSE_ANGLE = 0.16
BLINK_OVERLAP = 1.18  # the upper lid closes a little over the lower one, so that wide eyes close too
ARKIT_JOINTS: dict[str, tuple[str, tuple[float, float, float]]] = {
    "jawOpen": ("jaw", (JAW_OPEN_ANGLE, 0.0, 0.0)),
    "eyeLookUpLeft": ("left_eye", (-0.45, 0.0, 0.0)),
    "eyeLookUpRight": ("right_eye", (-0.45, 0.0, 0.0)),
    "eyeLookDownLeft": ("left_eye", (0.5, 0.0, 0.0)),
    "eyeLookDownRight": ("right_eye", (0.5, 0.0, 0.0)),
    "eyeLookInLeft": ("left_eye", (0.0, -0.55, 0.0)),
    "eyeLookInRight": ("right_eye", (0.0, 0.55, 0.0)),
    "eyeLookOutLeft": ("left_eye", (0.0, 0.55, 0.0)),
    "eyeLookOutRight": ("right_eye", (0.0, -0.55, 0.0)),
}


def expression_directions(mesh: Mesh, chart: Chart) -> tuple[tuple[str, ...], Array]:
    """Names [E] and directions [E,V,3], in millimetres."""
    n = chart.vertex_count
    fields: Fields = {}
    for name, draw in _PAIRS.items():
        fields[f"{name}Left"] = draw(chart, 1, chart.left())
        fields[f"{name}Right"] = draw(chart, -1, chart.right())
    for group in (_brow_middle, _mouth, _jaw, _cheeks, _tongue, _neck):
        fields |= group(chart)
    fields["mouthClose"] = _mouth_close(mesh, chart)
    fields = {name: field[:n] for name, field in fields.items()}
    for name, (upper, lower) in {
        "eyeBlink": (BLINK_OVERLAP, 1.0),
        "eyeWide": (-0.34, -0.12),
        "eyeSquint": (0.22, 0.85),
    }.items():
        for label, side in (("Left", 1), ("Right", -1)):
            lids = lid_direction(mesh, side, upper, lower)
            fields[f"{name}{label}"] = lids + fields.get(f"{name}{label}", 0)
    order = sorted(fields)
    return tuple(order), np.stack([fields[name] for name in order])


def _side_spot(c: Chart, side: int, centre: tuple[float, float], radii: tuple[float, float]) -> Array:
    """A spot on one side; wide spots near the middle cross it a little, as faces do."""
    return spot(c.x * side, c.flat_y, centre, radii)


def _along_skin(c: Chart, field: Array, amount: float = 0.85) -> Array:
    """Take away most of a displacement's normal part: skin slides over bone."""
    return field - amount * (field * c.normal).sum(-1, keepdims=True) * c.normal


def _brow_row(c: Chart) -> Array:
    """The height at which brows lie, moved as one; the forehead wrinkles above, the fold of the lid gives below."""
    return fade(3, 12, c.y) * bump(np.maximum(c.y - 22, 0), 22) * c.front


def _brow_down(c: Chart, side: int, half: Array) -> Array:
    row = bump(c.x * side - 25, 22) * _brow_row(c) * half
    knit = _side_spot(c, side, (13, 16), (9, 10)) * c.front * half
    return _along_skin(c, vector(x=-side * 2.2 * knit, y=-6.0 * row - 1.0 * knit)) + vector(z=1.2 * knit)


def _brow_outer_up(c: Chart, side: int, half: Array) -> Array:
    row = bump(c.x * side - 38, 17) * _brow_row(c) * half
    return _along_skin(c, vector(y=7.0 * row))


def _cheek_squint(c: Chart, side: int, half: Array) -> Array:
    apple = _side_spot(c, side, (34, -25), (16, 11)) * c.front * half
    under_lid = _side_spot(c, side, (32, -10), (14, 5)) * c.front * half
    return vector(x=side * 0.5 * apple, y=4.0 * apple + 1.0 * under_lid, z=1.8 * apple + 0.6 * under_lid)


def _nose_sneer(c: Chart, side: int, half: Array) -> Array:
    wing = _side_spot(c, side, (11, -36), (8, 10)) * c.front * half
    root = _side_spot(c, side, (8, -4), (8, 9)) * c.front * half
    lip = _side_spot(c, side, (12, -58), (10, 8)) * c.front * (1 - c.below_mouth) * half
    return vector(x=side * 0.8 * wing, y=4.2 * wing + 2.2 * lip + 1.2 * root, z=-0.6 * wing + 0.9 * root - 0.5 * lip)


def _nostril_flare(c: Chart, side: int, half: Array) -> Array:
    wing = _side_spot(c, side, (13, -39), (6, 8)) * c.front * half
    return vector(x=side * 2.2 * wing, y=0.5 * wing)


def _corner(c: Chart, side: int, radii: tuple[float, float] = (15, 14)) -> Array:
    """The corner of the mouth, lips and lining with it."""
    return _side_spot(c, side, (MOUTH_X + 1, MOUTH_Y), radii) * c.soft * (c.z > 20)


def _smile(c: Chart, side: int, half: Array) -> Array:
    corner, lips = _corner(c, side, (13, 15)), _side_spot(c, side, (13, MOUTH_Y), (14, 10)) * c.soft * (c.z > 20) * half
    cheek = _side_spot(c, side, (37, -38), (15, 14)) * c.front * half
    fold = bump(c.x * side - (17 + 0.42 * (-38 - c.flat_y)), 3.5) * band(-62, -44, 8, c.flat_y) * c.front * half
    lid = _side_spot(c, side, (33, -10), (13, 5)) * c.front * half
    pull = vector(x=side * 6.5 * corner, y=6.5 * corner, z=-5.0 * corner)
    stretch = vector(x=side * 1.0 * lips, y=1.2 * lips, z=-1.6 * lips)
    return (
        pull + stretch + vector(x=side * 1.2 * cheek, y=4.5 * cheek + 0.5 * lid, z=2.4 * cheek - 1.2 * fold + 0.5 * lid)
    )


def _frown(c: Chart, side: int, half: Array) -> Array:
    corner = _side_spot(c, side, (MOUTH_X, MOUTH_Y - 2), (12, 14)) * c.soft * (c.z > 20)
    chin = _side_spot(c, side, (22, -88), (12, 10)) * c.front * half
    return vector(x=side * 0.6 * corner, y=-6.5 * corner - 2.0 * chin, z=-1.5 * corner + 0.8 * chin)


def _dimple(c: Chart, side: int, half: Array) -> Array:
    corner = _corner(c, side, (10, 11))
    return vector(x=side * 3.6 * corner, y=0.6 * corner, z=-5.0 * corner)


def _stretch(c: Chart, side: int, half: Array) -> Array:
    corner = _corner(c, side, (15, 14))
    jaw = _side_spot(c, side, (36, -92), (16, 16)) * c.front * half
    return vector(x=side * (7.0 * corner + 1.5 * jaw), y=-2.6 * corner - 2.5 * jaw, z=-4.5 * corner)


def _press(c: Chart, side: int, half: Array) -> Array:
    lips = _side_spot(c, side, (11, MOUTH_Y), (15, 11)) * c.soft * (c.z > 20) * half
    return vector(y=-0.34 * (c.y - MOUTH_Y) * lips, z=-2.2 * lips)


def _lower_down(c: Chart, side: int, half: Array) -> Array:
    lip = bump(c.x * side - 9, 12) * uneven(c.height, MOUTH_Y - 4, 9, 14) * c.soft * c.below_mouth * (c.z > 20)
    return vector(x=side * 0.8 * lip, y=-7.0 * lip, z=-0.8 * lip)


def _upper_up(c: Chart, side: int, half: Array) -> Array:
    lip = bump(c.x * side - 9, 12) * uneven(c.height, MOUTH_Y + 4, 13, 9) * c.soft * (1 - c.below_mouth) * (c.z > 20)
    wing = _side_spot(c, side, (12, -38), (7, 8)) * c.front * half
    fold = _side_spot(c, side, (22, -50), (9, 10)) * c.front * half
    return vector(x=side * 0.6 * lip, y=6.0 * lip + 1.2 * wing + 2.0 * fold, z=-0.8 * lip + 0.8 * fold)


def _nasolabial(c: Chart, side: int, half: Array) -> Array:
    across = c.x * side - (16.5 + 0.40 * (-38 - c.flat_y))
    along = band(-64, -42, 9, c.flat_y) * c.front * half
    return vector(z=along * (1.4 * bump(across - 7, 6) - 1.7 * bump(across, 3.4)), y=1.6 * along * bump(across - 6, 8))


_PAIRS: dict[str, Callable[[Chart, int, Array], Array]] = {
    "browDown": _brow_down,
    "browOuterUp": _brow_outer_up,
    "cheekSquint": _cheek_squint,
    "eyeSquint": lambda c, side, half: 0.35 * _cheek_squint(c, side, half),
    "noseSneer": _nose_sneer,
    "nostrilFlare": _nostril_flare,
    "mouthSmile": _smile,
    "mouthFrown": _frown,
    "mouthDimple": _dimple,
    "mouthStretch": _stretch,
    "mouthPress": _press,
    "mouthLowerDown": _lower_down,
    "mouthUpperUp": _upper_up,
    "nasolabialDeepen": _nasolabial,
}


def _brow_middle(c: Chart) -> Fields:
    row = bump(c.ax - 9, 13) * _brow_row(c)
    knit = spot(c.ax, c.y, (13, 15), (8, 9)) * c.front
    return {
        "browInnerUp": _along_skin(c, vector(x=-c.side * 1.4 * knit, y=7.5 * row)),
        "browKnit": _along_skin(c, vector(x=-c.side * 3.0 * knit * fade(0, 6, c.ax), y=-1.2 * knit))
        + vector(z=1.4 * knit),
    }


def _mouth(c: Chart) -> Fields:
    on_face = c.soft * (c.z > 20)
    lips = spot(c.ax, c.flat_y, (0, MOUTH_Y), (27, 14)) * on_face
    seam = bump(c.ax, 24, 3) * on_face
    upper, lower = (1 - c.below_mouth), c.below_mouth
    upper_lip, lower_lip = (
        seam * upper * uneven(c.height, MOUTH_Y, 11, 40),
        seam * lower * uneven(c.height, MOUTH_Y, 40, 13),
    )
    middle = bump(c.ax, 19, 3)
    corner = spot(c.ax, c.flat_y, (MOUTH_X, MOUTH_Y), (12, 13)) * on_face
    region = spot(c.x, c.flat_y, (0, MOUTH_Y), (38, 26)) * on_face
    chin = spot(c.ax, c.flat_y, (0, -88), (22, 13)) * c.front
    into = np.clip(c.x / 26, -1.2, 1.2)
    rolled = np.clip(np.abs(c.height - MOUTH_Y) / 8, 0, 1)
    return {
        "mouthFunnel": vector(
            x=-6.0 * into * corner, y=(4.6 * upper_lip - 5.0 * lower_lip) * middle, z=5.5 * lips - 1.0 * corner
        ),
        "mouthPucker": vector(
            x=-10.5 * into * lips, y=-0.12 * (c.y - MOUTH_Y) * lips, z=6.5 * lips * bump(c.ax, 24) - 1.0 * corner
        ),
        "mouthLeft": vector(x=6.5 * region, z=-1.2 * np.clip(c.x / 25, -1, 1) * region),
        "mouthRight": vector(x=-6.5 * region, z=1.2 * np.clip(c.x / 25, -1, 1) * region),
        "mouthRollLower": vector(y=3.6 * lower_lip * rolled, z=-(4.2 - 2.0 * rolled) * lower_lip),
        "mouthRollUpper": vector(y=-3.2 * upper_lip * rolled, z=-(4.0 - 2.0 * rolled) * upper_lip),
        "mouthShrugLower": vector(
            y=4.2 * spot(c.ax, c.flat_y, (0, -74), (24, 15)) * on_face * (0.8 + 0.2 * lower) + 2.0 * chin,
            z=1.8 * chin + 1.8 * lower_lip,
        ),
        "mouthShrugUpper": vector(
            y=3.0 * spot(c.ax, c.flat_y, (0, MOUTH_Y), (22, 12)) * on_face, z=2.2 * upper_lip + 0.6 * lower_lip
        ),
        "lipsPart": vector(y=2.2 * upper_lip * middle - 3.4 * lower_lip * middle),
        "lipsTighten": vector(x=-2.2 * into * lips, y=-0.30 * (c.y - MOUTH_Y) * lips, z=-0.8 * lips),
        "chinRaise": vector(y=4.0 * chin, z=1.4 * chin - 1.0 * bump(c.ax, 18) * bump(c.flat_y + 83, 4) * c.front),
    }


def _jaw(c: Chart) -> Fields:
    return {"jawForward": vector(z=6.0 * c.jaw), "jawLeft": vector(x=6.5 * c.jaw), "jawRight": vector(x=-6.5 * c.jaw)}


def _cheeks(c: Chart) -> Fields:
    pouch = spot(c.ax, c.flat_y, (41, -60), (17, 18)) * fade(22, 31, c.ax) * c.front
    lips = spot(c.ax, c.flat_y, (0, MOUTH_Y), (20, 13)) * c.soft * (c.z > 20)
    return {
        "cheekPuff": 9.0 * pouch[:, None] * c.normal + vector(z=1.6 * lips),
        "cheekSuck": -6.0 * pouch[:, None] * c.normal + vector(x=-2.0 * np.clip(c.x / 26, -1, 1) * lips),
    }


def _tongue(c: Chart) -> Fields:
    probes = np.zeros(len(c.x) - c.vertex_count)
    is_tongue = np.concatenate(
        [(np.isclose(c.height[: c.vertex_count], MOUTH_Y - 5) & (c.skin[: c.vertex_count] == 0)), probes]
    )
    tip = is_tongue * fade(38, 80, c.z)
    return {
        "tongueOut": vector(y=5.0 * tip - 3.0 * tip**2, z=34.0 * tip),
        "tongueUp": vector(y=9.0 * tip, z=-2.0 * tip),
        "tongueLeft": vector(x=9.0 * tip),
        "tongueRight": vector(x=-9.0 * tip),
    }


def _neck(c: Chart) -> Fields:
    cords = (bump(c.angle - 38, 14) * band(-178, -132, 14, c.height) * c.skin)[:, None]
    larynx = spot(c.angle, c.height, (0, -145), (16, 14)) * fade(-190, -175, c.height) * c.skin
    return {
        "neckTense": 3.0 * cords * c.normal + vector(y=-2.0 * spot(c.ax, c.height, (34, -104), (14, 14)) * c.front),
        "larynxUp": vector(y=6.0 * larynx, z=1.0 * larynx),
    }


def _mouth_close(mesh: Mesh, c: Chart) -> Array:
    """The displacement that closes the lips again over a jaw opened by MOUTH_CLOSE_ANGLE."""
    upper, lower = mesh.named["mouth_upper"], mesh.named["mouth_lower"]
    sine, cosine = np.sin(MOUTH_CLOSE_ANGLE), np.cos(MOUTH_CLOSE_ANGLE)
    arm = mesh.points[lower] - JOINTS_MM[2]
    slide = np.array([0.0, -5.0, 9.5]) * sine
    turned = arm @ np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]]).T + slide
    gap = (c.jaw[lower] - c.jaw[upper])[:, None] * (turned - arm)
    x = mesh.points[upper, 0]
    order = np.argsort(x)
    across = np.stack([np.interp(c.x, x[order], gap[order, k], left=0, right=0) for k in range(3)], -1)
    fall = uneven(c.height, MOUTH_Y, 12, 17)
    share = np.where(c.height < MOUTH_Y, -0.78, 0.22)
    return (share * fall * c.soft * (c.z > 20))[:, None] * across
