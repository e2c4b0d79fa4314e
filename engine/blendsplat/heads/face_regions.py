# SPDX-License-Identifier: Apache-2.0
"""What of an expression is the mouth's, the eyes' and the brows': by ARKit's names, or by what it moves."""

from __future__ import annotations

import numpy as np

from blendsplat.heads.arkit import GROUPS, is_arkit
from blendsplat.heads.model import LEFT_EYE_JOINT, HeadModel

REGIONS = ("mouth", "eyes", "brows")
_BY_GROUP = {"brows": "brows", "eyes": "eyes"}  # cheeks, nose, jaw and tongue go with the mouth
_SIDES = ("Left", "Right")
# of a head whose expressions have no names, in distances between the eyes from their height: where the brows begin
# and the mouth's part of the face ends, and how softly
_BROWS, _MOUTH, _SOFT = 0.2, -0.3, 0.2
_RIDGE = 1e-4


def expression_parts(head: HeadModel) -> dict[str, np.ndarray]:
    """Region -> matrix [E,E] that takes coefficients (a column) to those of that region alone; together they are the
    identity.

    With ARKit's names every coefficient belongs to one region. FLAME's move the whole face: there the parts are
    fitted, by least squares of the vertices of the region.
    """
    if is_arkit(head):
        owner = np.array([region_of(name) for name in head.expression_names])
        return {region: np.diag((owner == region).astype(np.float64)) for region in REGIONS}
    directions = head.expression_directions.detach().cpu().double().numpy()
    shares = _shares(head)
    flat = directions.reshape(len(directions), -1)
    gram = flat @ flat.T
    gram += _RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram)) + 1e-12 * np.eye(len(gram))
    parts = {}
    for region in ("eyes", "brows"):
        seen = (directions * shares[region][:, None]).reshape(len(directions), -1)
        parts[region] = np.linalg.solve(gram, flat @ seen.T)
    return {"mouth": np.eye(len(gram)) - parts["eyes"] - parts["brows"], **parts}


def region_of(name: str) -> str:
    """Of one of ARKit's expressions, or of both sides or one side of one; "mouth" for what has another name."""
    for group, names in GROUPS.items():
        whole = {one.removesuffix(side) for one in names for side in _SIDES}
        if name in names or name in whole or any(name.removesuffix(side) in names for side in _SIDES):
            return _BY_GROUP.get(group, "mouth")
    return "mouth"


def _shares(head: HeadModel) -> dict[str, np.ndarray]:
    """How much each vertex [V] is of the brows and of the eyes."""
    eyes = head.joints[LEFT_EYE_JOINT:].detach().cpu().double().numpy()
    apart = max(float(np.linalg.norm(eyes[0] - eyes[1])), 1e-6)
    height = (head.template[:, 1].detach().cpu().double().numpy() - eyes[:, 1].mean()) / apart
    brows = np.clip((height - _BROWS) / _SOFT + 0.5, 0, 1)
    mouth = np.clip((_MOUTH - height) / _SOFT + 0.5, 0, 1)
    return {"brows": brows, "eyes": 1 - brows - mouth}
