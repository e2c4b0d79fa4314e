# SPDX-License-Identifier: Apache-2.0
"""Writes files as other people's programs do: chumpy objects without chumpy, old module names, a small FLAME."""

from __future__ import annotations

import contextlib
import pickle
import pickletools
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from eye import eye
from small_head import grid_sphere


@contextlib.contextmanager
def fake_chumpy() -> Iterator[types.SimpleNamespace]:
    """A chumpy package that exists while pickling only; its Ch and Select have the attributes of the real ones."""
    modules = {name: types.ModuleType(name) for name in ("chumpy", "chumpy.ch", "chumpy.reordering")}

    def make(module: str, name: str) -> type:
        made = type(name, (), {"__module__": module})
        setattr(modules[module], name, made)
        return made

    ch, select = make("chumpy.ch", "Ch"), make("chumpy.reordering", "Select")
    sys.modules.update(modules)

    def wrap(array: np.ndarray) -> Any:
        made = ch()
        made.x, made._dirty_vars, made._itr, made._status = array, {"x"}, None, "new"
        return made

    def pick(array: np.ndarray, idxs: np.ndarray, shape: tuple[int, ...]) -> Any:
        made = select()
        made.a, made.idxs, made.preferred_shape, made._dirty_vars = wrap(array), idxs, shape, set()
        return made

    try:
        yield types.SimpleNamespace(wrap=wrap, select=pick)
    finally:
        for name in modules:
            del sys.modules[name]


def dump(value: Any, protocol: int = 2, rename: dict[str, str] | None = None) -> bytes:
    """pickle.dumps, with module names replaced by others of any length (protocol below 4 writes them as lines)."""
    data = pickle.dumps(value, protocol)
    for old, new in (rename or {}).items():
        assert protocol < 4
        data = data.replace(f"c{old}\n".encode(), f"c{new}\n".encode())
    list(pickletools.genops(data))
    return data


OLD_NAMES = {
    "numpy._core.multiarray": "numpy.core.multiarray",
    "scipy.sparse._csc": "scipy.sparse.csc",
    "scipy.sparse._csr": "scipy.sparse.csr",
    "copyreg": "copy_reg",
    "builtins": "__builtin__",
}


def flame_arrays(seed: int = 0, identities: int = 6, expressions: int = 4) -> dict[str, Any]:
    """A FLAME-like dictionary on a small ball with two smaller ones as eyes; FLAME's keys and layouts."""
    rng = np.random.default_rng(seed)
    ball, faces, _, _ = grid_sphere(rows=14, columns=20)
    eye, eye_faces, _, _ = grid_sphere(rows=6, columns=8, radius=0.012)
    vertices = np.concatenate([ball, eye + np.array([0.03, 0.02, 0.085]), eye + np.array([-0.03, 0.02, 0.085])])
    faces = np.concatenate([faces, eye_faces + len(ball), eye_faces + len(ball) + len(eye)])
    count = len(vertices)
    weights = np.zeros((count, 5))
    height = np.clip((ball[:, 1] + 0.09) / 0.05, 0, 1)
    jaw = ((ball[:, 1] < -0.03) & (ball[:, 2] > 0.02)) * 0.5
    weights[: len(ball), 0], weights[: len(ball), 1], weights[: len(ball), 2] = (
        1 - height,
        height * (1 - jaw),
        height * jaw,
    )
    weights[len(ball) : len(ball) + len(eye), 3] = 1
    weights[len(ball) + len(eye) :, 4] = 1
    regressor = np.zeros((5, count))
    for joint, rows in enumerate(
        (range(240, 280), range(200, 240), range(100, 140), range(280, 280 + len(eye)), range(280 + len(eye), count))
    ):
        regressor[joint, list(rows)] = 1 / len(list(rows))
    return {
        "f": faces.astype(np.uint32),
        "v_template": vertices,
        "shapedirs": rng.normal(size=(count, 3, identities + expressions)) * 0.002,
        "posedirs": rng.normal(size=(count, 3, 36)) * 0.001,
        "J_regressor": sp.csc_matrix(regressor),
        "J": regressor @ vertices,
        "weights": weights,
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]], np.int64),
        "bs_style": "lbs",
        "bs_type": "lrotmin",
    }


def flame_arrays_with_eyes(seed: int = 0) -> dict[str, Any]:
    """flame_arrays with eyes before the ball instead: eyeballs behind lids that have a slit (eye.py)."""
    arrays = flame_arrays(seed)
    ball = 14 * 20
    sides = [eye(np.array([x, 0.02, 0.13])) for x in (0.031, -0.031)]
    vertices, faces = [arrays["v_template"][:ball]], [arrays["f"][(arrays["f"] < ball).all(1)].astype(np.int64)]
    weights, joints = [arrays["weights"][:ball]], arrays["J_regressor"].toarray()[:, :ball]
    for joint, (points, triangles, eyeball, _) in zip((3, 4), sides, strict=True):
        start, carried = sum(map(len, vertices)), np.zeros((len(points), 5))
        carried[:, 1] = 1
        carried[eyeball] = np.eye(5)[joint]
        joints = np.concatenate([joints, np.zeros((5, len(points)))], 1)
        joints[joint, start + eyeball] = 1 / len(eyeball)
        vertices, faces, weights = [*vertices, points], [*faces, triangles + start], [*weights, carried]
    rng, count = np.random.default_rng(seed), joints.shape[1]
    template = np.concatenate(vertices)
    return arrays | {
        "v_template": template, "f": np.concatenate(faces).astype(np.uint32), "weights": np.concatenate(weights),
        "J_regressor": sp.csc_matrix(joints), "J": joints @ template,
        "shapedirs": rng.normal(size=(count, 3, arrays["shapedirs"].shape[2])) * 0.002,
        "posedirs": rng.normal(size=(count, 3, 36)) * 0.001,
    }  # fmt: skip


def write_flame(
    path: Path, arrays: dict[str, Any] | None = None, chumpy: bool = True, protocol: int = 2
) -> dict[str, Any]:
    """Write flame_arrays (or given ones) as FLAME 2020 does: chumpy shapedirs, Python 2's names."""
    arrays = flame_arrays() if arrays is None else arrays
    with fake_chumpy() as fake:
        content = dict(arrays)
        if chumpy:
            content["shapedirs"] = fake.wrap(arrays["shapedirs"])
        path.write_bytes(dump(content, protocol, OLD_NAMES if protocol < 4 else None))
    return arrays
