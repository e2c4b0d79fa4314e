# SPDX-License-Identifier: Apache-2.0
"""The named parts of the head: the source's masks, and what geometry tells."""

from __future__ import annotations

import numpy as np

from tools.bake_head.assemble import Assembly
from tools.bake_head.makehuman import MakeHuman
from tools.bake_head.mouth import MOUTH
from tools.bake_head.skin import vertex_mask

# the hairline: height above the eyes (mm) over the angle round the head from straight ahead (degrees)
HAIRLINE = (
    (0, 15, 28, 40, 50, 58, 66, 74, 82, 90, 96, 112, 135, 180),
    (66, 66, 63, 55, 43, 31, 13, -3, -8, -4, 8, 0, -45, -62),
)


def name_regions(source: MakeHuman, head: Assembly, mean: np.ndarray) -> dict[str, np.ndarray]:
    """Region -> vertices (int64). mean [V,3]: mm, in the source's frame."""
    skin_faces, island = head.skin.faces, head.skin.island
    count = len(mean)

    def of_island(number: int) -> np.ndarray:
        mask = np.zeros(count, bool)
        mask[skin_faces[island == number]] = True
        return mask

    def masked(name: str) -> np.ndarray:
        mask = np.zeros(count, bool)
        mask[: head.skin.weights.shape[0]] = head.skin.weights @ vertex_mask(source, name) > 0.5
        return mask | mask[head.mirror]

    eyes = mean[np.concatenate([head.rows("left_eyeball"), head.rows("right_eyeball")])]
    eyes = np.array([0.0, eyes[:, 1].mean(), 0.5 * (eyes[:, 2].min() + eyes[:, 2].max())])
    x, up, z = mean[:, 0], mean[:, 1] - eyes[1], mean[:, 2]
    outside = of_island(0) | of_island(4)
    pockets = of_island(2) | of_island(3)
    inside = of_island(MOUTH) & ~outside
    ears = masked("ears") & outside
    angle = np.degrees(np.arctan2(np.abs(x), z - (eyes[2] - 78)))
    scalp = outside & ~ears & (up > np.interp(angle, *HAIRLINE))
    lids = (masked("eyelids") & outside) | pockets
    lips = masked("lips") & outside
    nose_tip = int(np.flatnonzero(outside)[z[outside].argmax()])
    nose = outside & (np.abs(x) < 20) & (up < 4) & (up > up[nose_tip] - 17) & (z > z[nose_tip] - 34)
    jaw_line = np.interp(angle, (0, 30, 60, 80), (-118, -112, -92, -70))
    neck = outside & (up < jaw_line - 6) & ~ears
    face = outside & masked("face") & ~scalp & ~ears & ~neck
    masks = {
        "face": face | pockets, "scalp": scalp, "neck": neck, "lips": lips, "nose": nose,
        "left_eyelids": lids & (x > 0), "right_eyelids": lids & (x < 0),
        "left_ear": ears & (x > 0), "right_ear": ears & (x < 0), "mouth_interior": inside,
    }  # fmt: skip
    regions = {name: np.flatnonzero(mask) for name, mask in masks.items()}
    regions |= {part.name: head.rows(part.name) for part in head.parts}
    return {name: rows.astype(np.int64) for name, rows in (regions | {"neck_ring": head.skin.neck_ring}).items()}
