# SPDX-License-Identifier: Apache-2.0
"""The formulas of docs/formats.md and heads/model.py once more, in float64 numpy, to compare Blender with."""

from __future__ import annotations

import numpy as np
from scipy_free_rotation import matrix_of_quat, matrix_of_rotvec

PARENTS = (-1, 0, 1, 1, 1)


def head_vertices(rig: dict[str, np.ndarray], p: dict[str, np.ndarray], row: int) -> np.ndarray:
    """Vertices [V,3] of one frame of a performance, engine space."""
    r = {name.removeprefix("rig."): value.astype(float) for name, value in rig.items() if name.startswith("rig.")}
    expression, lids = p["expression"][row].astype(float), p["eyelids"][row].astype(float)
    poses = [
        p["root_pose"][row],
        p["neck_pose"][row],
        p["jaw_pose"][row],
        p["eyes_pose"][row][0],
        p["eyes_pose"][row][1],
    ]
    rotations = [matrix_of_rotvec(pose.astype(float)) for pose in poses]
    feature = np.concatenate([(rotation - np.eye(3)).ravel() for rotation in rotations[1:]])
    shaped = r["template"] + np.einsum("e,evc->vc", expression, r["expression_directions"])
    shaped = (
        shaped
        + np.einsum("e,evc->vc", lids, r["eyelid_directions"])
        + np.einsum("p,pvc->vc", feature, r["pose_directions"])
    )
    joints = r["joints"] + np.einsum("e,ejc->jc", expression, r["joint_expression_directions"])
    world: list[np.ndarray] = []
    for joint, parent in enumerate(PARENTS):
        local = np.eye(4)
        local[:3, :3] = rotations[joint]
        local[:3, 3] = joints[joint] - (joints[parent] if parent >= 0 else 0)
        world.append(local if parent < 0 else world[parent] @ local)
    out = np.zeros_like(shaped)
    for joint in range(5):
        moved = (shaped - joints[joint]) @ world[joint][:3, :3].T + world[joint][:3, 3]
        out += r["skin_weights"][:, joint, None] * moved
    return out + p["translation"][row].astype(float)


def features(p: dict[str, np.ndarray], row: int, origin: np.ndarray) -> np.ndarray:
    """The MLP's input of one frame."""

    def six(matrix: np.ndarray) -> np.ndarray:
        return matrix[:2].ravel()

    head = matrix_of_rotvec(p["root_pose"][row]) @ matrix_of_rotvec(p["neck_pose"][row])
    parts = [p["expression"][row], six(head), six(matrix_of_rotvec(p["jaw_pose"][row]))]
    parts += [six(matrix_of_rotvec(eye)) for eye in p["eyes_pose"][row]]
    return np.concatenate([*parts, p["eyelids"][row], p["translation"][row] - origin]).astype(float)


def mlp(a: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """The blendshapes' weights [K]."""
    for layer in range(3):
        x = a[f"mlp.{layer}.weight"].astype(float) @ x + a[f"mlp.{layer}.bias"].astype(float)
        x = np.maximum(x, 0) if layer < 2 else x
    return x


def gaussians(a: dict[str, np.ndarray], weights: np.ndarray, vertices: np.ndarray) -> dict[str, np.ndarray]:
    """means [N,3], rotations [N,3,3], scales, opacities, colors on given head vertices [V,3] of any space."""
    blend = {
        n: a[n].astype(float) + np.tensordot(weights, a[f"delta_{n}"].astype(float), 1)
        for n in ("positions", "quats", "colors")
    }
    corners = vertices[a["rig.faces"][a["triangle"]]]
    uv = a["rig.uvs"].astype(float)[a["rig.uv_faces"][a["triangle"]]]
    e1, e2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    d1, d2 = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
    det = d1[:, :1] * d2[:, 1:] - d2[:, :1] * d1[:, 1:]

    def unit(x: np.ndarray) -> np.ndarray:
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    t = unit((e1 * d2[:, 1:] - e2 * d1[:, 1:]) / det)
    b = unit((e2 * d1[:, :1] - e1 * d2[:, :1]) / det)
    n = unit(np.cross(e1, e2))
    x = unit(t - n * (t * n).sum(1, keepdims=True))
    frame = np.stack([x, np.cross(n, x), n], -1)
    local = blend["positions"]
    return {
        "means": (corners * a["barycentrics"][:, :, None]).sum(1)
        + t * local[:, :1]
        + b * local[:, 1:2]
        + n * local[:, 2:],
        "rotations": frame @ np.stack([matrix_of_quat(q) for q in blend["quats"]]),
        "scales": np.exp(a["log_scales"].astype(float)),
        "opacities": 1 / (1 + np.exp(-a["opacity_logits"].astype(float))),
        "colors": np.maximum(0, 0.28209479177387814 * blend["colors"] + 0.5),
    }
