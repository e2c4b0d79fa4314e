# SPDX-License-Identifier: Apache-2.0
"""Names the parts of a FLAME head: from FLAME_masks.pkl when the user has it, else from a face's proportions.

The proportions are measured in distances between the eyes, from the point between them; they are rough, and only say
where colours, weights and cuts belong.
"""

from __future__ import annotations

import numpy as np

from blendsplat.heads.model import JAW_JOINT, LEFT_EYE_JOINT, RIGHT_EYE_JOINT
from blendsplat.heads.teeth import Mouth
from blendsplat.heads.topology import boundary_loops

# not "lips": FLAME's mask reaches far around the mouth, and painted red (heads.portrait) it leads landmarks astray
_SAME_NAMES = (
    "face",
    "scalp",
    "neck",
    "left_eyeball",
    "right_eyeball",
    "left_ear",
    "right_ear",
    "nose",
    "forehead",
)


def neck_ring(faces: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """The lowest border loop, ordered; without borders, the lowest vertices around."""
    loops = boundary_loops(faces)
    if loops:
        return min(loops, key=lambda loop: vertices[loop, 1].mean())
    low = np.flatnonzero(vertices[:, 1] < np.quantile(vertices[:, 1], 0.02))
    return low[np.argsort(np.arctan2(vertices[low, 0], vertices[low, 2]))]


def regions_from_masks(masks: dict[str, np.ndarray], vertices: np.ndarray, joints: np.ndarray) -> dict[str, np.ndarray]:
    """FLAME's own masks in this program's names, lips excepted; indices that the head does not have are left out."""
    found: dict[str, np.ndarray] = {}
    for name in (*_SAME_NAMES, "left_eye_region", "right_eye_region"):
        if name in masks:
            indices = np.unique(masks[name])
            found[name] = indices[(indices >= 0) & (indices < len(vertices))]
    unit = np.linalg.norm(joints[LEFT_EYE_JOINT] - joints[RIGHT_EYE_JOINT])
    for side, joint in (("left", LEFT_EYE_JOINT), ("right", RIGHT_EYE_JOINT)):
        around = found.pop(f"{side}_eye_region", None)
        if around is not None:
            lids = around[np.linalg.norm(vertices[around] - joints[joint], axis=1) < 0.30 * unit]
            found[f"{side}_eyelids"] = np.setdiff1d(lids, found.get(f"{side}_eyeball", lids[:0]))
    return found


def geometric_regions(
    vertices: np.ndarray, weights: np.ndarray, joints: np.ndarray, mouth: Mouth
) -> dict[str, np.ndarray]:
    """Every region but eyeballs and neck ring, from vertices [V,3], skinning weights [V,5] and joints [5,3]."""
    unit = float(np.linalg.norm(joints[LEFT_EYE_JOINT] - joints[RIGHT_EYE_JOINT]))
    centre = (joints[LEFT_EYE_JOINT] + joints[RIGHT_EYE_JOINT]) / 2
    x, y, z = ((vertices - centre) / unit).T
    skin = weights[:, LEFT_EYE_JOINT:].sum(1) < 0.5
    above_ears = skin & (y > 0.9) & (y < 1.3)
    skull = np.abs(x[above_ears]).max() if above_ears.any() else np.abs(x[skin]).max()
    ears = skin & (np.abs(x) > 1.03 * skull) & (y > -1.1) & (y < 0.2) & (z < -0.4)
    ear_depth = z[ears].mean() if ears.any() else -1.3
    chin = (mouth.middle[1] - centre[1]) / unit - 0.72
    # the border between head and neck rises towards the nape like a collar
    neck = skin & (y < chin - 0.1 + 0.35 * np.clip(-0.2 - z, 0, 2.5)) & (weights[:, JAW_JOINT] < 0.5)
    behind = (z < ear_depth + 0.1) | (y > 1.25 + 0.25 * np.clip(z + 0.6, -2, 1))
    scalp = skin & behind & ~neck & ~ears
    lips = np.zeros(len(vertices), bool)
    lips[mouth.lips] = True
    nose_width = 0.10 + 0.28 * np.clip(-y / 0.75, 0, 1)
    bottom = (mouth.middle[1] - centre[1]) / unit + 0.36
    nose = skin & (y < 0.1) & (y > bottom) & (np.abs(x) < nose_width) & (z > -0.15)
    masks = {
        "face": skin & ~neck & ~scalp & ~ears,
        "scalp": scalp,
        "neck": neck,
        "lips": lips,
        "nose": nose,
        "left_ear": ears & (x > 0),
        "right_ear": ears & (x < 0),
    }
    for side, joint in (("left", LEFT_EYE_JOINT), ("right", RIGHT_EYE_JOINT)):
        distance = np.linalg.norm(vertices - joints[joint], axis=1) / unit
        masks[f"{side}_eyelids"] = skin & (distance < 0.30)
    return {name: np.flatnonzero(mask) for name, mask in masks.items()}
