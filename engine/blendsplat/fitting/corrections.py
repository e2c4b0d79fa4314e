# SPDX-License-Identifier: Apache-2.0
"""What an artist corrected by hand in frames of a tracked clip, and its file ``corrections.npz`` (docs/formats.md).

A correction is a whole frame as the artist saw it, and which of its numbers he moved. It remembers the camera and the
torso that it was made with, so that it still means the same when the clip is tracked again.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from blendsplat.errors import FormatError, InputError
from blendsplat.files import read_npz, write_npz
from blendsplat.fitting.landmark_model import (
    DEPTH,
    EYES,
    FIXED_PARAMETERS,
    JAW,
    NECK,
    TRANSLATION,
)
from blendsplat.geometry import matrix_to_rotvec, rotvec_to_matrix
from blendsplat.heads.performance import Performance

FORMAT, VERSION = "blendsplat-corrections", 1
FILE = "corrections.npz"
_WAY_OUT = "delete the file and correct the frames again"
_WHOLE = (slice(NECK.start, TRANSLATION.stop), JAW, slice(EYES.start, EYES.start + 2), slice(EYES.start + 2, EYES.stop))


@dataclass(frozen=True)
class Corrections:
    """N corrected frames, float32 arrays as in Performance, row by row."""

    head_model: str  # HeadModel.model_id
    frames: np.ndarray  # [N] int64, rising: rows of the clip
    root_pose: np.ndarray  # [N,3] the torso's, as in the tracking that was corrected
    neck_pose: np.ndarray  # [N,3]
    translation: np.ndarray  # [N,3]
    jaw_pose: np.ndarray  # [N,3]
    eyes_pose: np.ndarray  # [N,2,3]
    eyelids: np.ndarray  # [N,2]
    expression: np.ndarray  # [N,E]
    changed: np.ndarray  # [N,P] bool, in the order of fitting/landmark_model.py: what the artist moved
    focal: np.ndarray  # [N] pixels: K of the tracking that was corrected
    distance: np.ndarray  # [N] metres: viewmat[2,3] of the same

    def __len__(self) -> int:
        return len(self.frames)

    def rows(self, chosen: np.ndarray) -> Corrections:
        """Some of them."""
        arrays = {field.name: getattr(self, field.name)[chosen] for field in fields(self)[1:]}
        return replace(self, **arrays)

    def without(self, frame: int) -> Corrections:
        """All but the one of this frame. Raises InputError where there is none."""
        if frame not in self.frames:
            known = ", ".join(map(str, self.frames)) or "none"
            raise InputError(f"Frame {frame} was not corrected; corrected frames: {known}.")
        return self.rows(self.frames != frame)

    def unknowns(self, performance: Performance) -> Tensor:
        """[N,P] as the solver counts, for the torso and the camera of ``performance``: the head's rotation and place in
        the picture stay when the torso or the focal length is another by now."""
        torso = rotvec_to_matrix(torch.as_tensor(performance.root_pose[self.frames], dtype=torch.float32))
        theirs = rotvec_to_matrix(torch.as_tensor(self.root_pose, dtype=torch.float32))
        neck = rotvec_to_matrix(torch.as_tensor(self.neck_pose, dtype=torch.float32))
        parts = [self.neck_pose, self.translation, self.jaw_pose, self.eyes_pose[..., :2].reshape(-1, 4), self.eyelids]
        values = torch.as_tensor(np.concatenate([*parts, self.expression], 1), dtype=torch.float32)
        values[:, NECK] = matrix_to_rotvec(torso.transpose(1, 2) @ theirs @ neck)
        longer = float(performance.K[0, 0]) / torch.as_tensor(self.focal, dtype=torch.float32)
        values[:, DEPTH] = (values[:, DEPTH] - torch.as_tensor(self.distance, dtype=torch.float32)) * longer
        return values

    def moved(self) -> np.ndarray:
        """[N,P] bool: ``changed``, where who moved a part of the head's pose, the jaw or an eye said all of it."""
        moved = self.changed.copy()
        for part in _WHOLE:
            moved[:, part] = self.changed[:, part].any(1, keepdims=True)
        return moved

    def check(self, performance: Performance) -> None:
        """Raise InputError unless these are corrections of ``performance``: of its head, within its frames."""
        if performance.head_model and self.head_model != performance.head_model:
            raise InputError(
                f"The corrections were made on another head (model {self.head_model[:8] or 'unknown'}) than the clip "
                f"is tracked with ({performance.head!r}, model {performance.head_model[:8]}): track it with that head "
                f"again, or delete {FILE}."
            )
        if self.expression.shape[1] != performance.expression.shape[1]:
            raise InputError(
                f"The corrections hold {self.expression.shape[1]} expressions and the head {performance.head!r} has "
                f"{performance.expression.shape[1]}: delete {FILE} and correct the frames again."
            )
        if len(self) and self.frames[-1] >= performance.frame_count:
            raise InputError(
                f"Frame {self.frames[-1]} was corrected, and the clip has {performance.frame_count} frames: delete "
                f"{FILE} and correct the frames again."
            )

    def save(self, path: Path | str) -> None:
        """Write the .npz atomically."""
        meta = {"format": FORMAT, "version": VERSION, "head_model": self.head_model}
        write_npz(path, meta, {field.name: getattr(self, field.name) for field in fields(self)[1:]})

    @classmethod
    def load(cls, path: Path | str) -> Corrections:
        """Read and check a corrections.npz (or the one in a clip's folder). Raises FormatError."""
        path = Path(path)
        if path.is_dir():
            path = path / FILE
        meta, arrays = read_npz(path, FORMAT, VERSION)
        count = len(arrays["frames"]) if "frames" in arrays and arrays["frames"].ndim == 1 else 0
        expressions = arrays["expression"].shape[-1] if "expression" in arrays and arrays["expression"].ndim else 0
        shapes = {
            "frames": (count,), "root_pose": (count, 3), "neck_pose": (count, 3), "translation": (count, 3),
            "jaw_pose": (count, 3), "eyes_pose": (count, 2, 3), "eyelids": (count, 2),
            "expression": (count, expressions), "changed": (count, FIXED_PARAMETERS + expressions), "focal": (count,),
            "distance": (count,),
        }  # fmt: skip
        read = {}
        for name, want in shapes.items():
            if name not in arrays:
                raise FormatError(f"{path} lacks the array {name!r}; {_WAY_OUT}.")
            if arrays[name].shape != want or arrays[name].dtype.kind not in "fiub":
                raise FormatError(f"{path}: the array {name!r} is not of the shape {want}; {_WAY_OUT}.")
            if not np.isfinite(arrays[name]).all():
                raise FormatError(f"{path}: the array {name!r} holds values that are not finite; {_WAY_OUT}.")
            kind = {"frames": np.int64, "changed": bool}.get(name, np.float32)
            read[name] = arrays[name].astype(kind)
        rising = np.diff(read["frames"]) > 0
        if not rising.all() or (count and read["frames"][0] < 0) or (read["focal"] <= 0).any():
            raise FormatError(f"{path}: its frames are not in order, or a focal length is not positive; {_WAY_OUT}.")
        return cls(str(meta.get("head_model", "")), **read)


def empty(performance: Performance) -> Corrections:
    """No correction of this performance yet."""
    shapes = {
        "frames": (), "root_pose": (3,), "neck_pose": (3,), "translation": (3,), "jaw_pose": (3,), "eyes_pose": (2, 3),
        "eyelids": (2,), "expression": (performance.expression.shape[1],),
        "changed": (FIXED_PARAMETERS + performance.expression.shape[1],), "focal": (), "distance": (),
    }  # fmt: skip
    kinds = {"frames": np.int64, "changed": bool}
    arrays = {name: np.zeros((0, *shape), kinds.get(name, np.float32)) for name, shape in shapes.items()}
    return Corrections(performance.head_model, **arrays)


def corrected_frame(before: Corrections, performance: Performance, frame: int, **moved: np.ndarray) -> Corrections:
    """``before`` and a correction of ``frame``, where arrays of ``performance`` have the values ``moved`` instead: what
    was said of the same frame before still holds where it is not said anew."""
    names = ("neck_pose", "translation", "jaw_pose", "eyes_pose", "eyelids", "expression")
    row = {name: np.asarray(moved.get(name, getattr(performance, name)[frame]), np.float32) for name in names}
    old = {name: np.asarray(getattr(performance, name)[frame], np.float32) for name in names}
    flat = [
        np.concatenate([v["neck_pose"], v["translation"], v["jaw_pose"], v["eyes_pose"][:, :2].ravel(), v["eyelids"],
                        v["expression"]]) for v in (row, old)
    ]  # fmt: skip
    changed = np.abs(flat[0] - flat[1]) > 1e-6
    if frame in before.frames:
        changed |= before.changed[before.frames == frame][0]
        before = before.without(frame)
    new = {
        **row, "frames": np.int64(frame), "root_pose": performance.root_pose[frame], "changed": changed,
        "focal": np.float32(performance.K[0, 0]), "distance": np.float32(performance.viewmat[2, 3]),
    }  # fmt: skip
    joined = {name: np.concatenate([getattr(before, name), np.asarray(value)[None]]) for name, value in new.items()}
    whole = replace(before, **joined)
    return whole.rows(np.argsort(whole.frames))
