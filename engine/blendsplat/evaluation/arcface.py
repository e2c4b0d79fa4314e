# SPDX-License-Identifier: Apache-2.0
"""Whether two pictures show the same person: the cosine of ArcFace's embeddings (Deng et al. 2019), of a network that
the user provides as ONNX.

The network is not shipped, and onnxruntime is asked for only where a file is named. Pictures are turned and scaled so
that five points of the face lie where the network has always seen them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from blendsplat.errors import FormatError, InputError
from blendsplat.landmarks import points as pts

SIDE = 112
# Where the eyes, the nose's tip and the mouth's corners lie in a crop, pixels (InsightFace's template for 112 x 112);
# the first of each pair is on the picture's left, which is the person's right.
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
NOSE_TIP, RIGHT_CORNER, LEFT_CORNER = 4, 61, 291
_BATCH = 16

Session = Callable[[np.ndarray], np.ndarray]  # [B,3,112,112] float32 in [-1,1], RGB -> [B,D]


def five_points(landmarks: np.ndarray) -> np.ndarray:
    """[5,2] of landmarks [478,2], in TEMPLATE's order."""
    right, left = (landmarks[list(iris)].mean(0) for iris in (pts.RIGHT_IRIS, pts.LEFT_IRIS))
    return np.stack([right, left, landmarks[NOSE_TIP], landmarks[RIGHT_CORNER], landmarks[LEFT_CORNER]])


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The turn, scale and shift [2,3] that takes points [N,2] nearest to others (Umeyama 1991). No mirroring."""
    a, b = source - source.mean(0), target - target.mean(0)
    size = max(float((a * a).sum()), 1e-12)
    along, across = (a * b).sum() / size, (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / size
    turn = np.array([[along, -across], [across, along]])
    return np.column_stack([turn, target.mean(0) - turn @ source.mean(0)])


def aligned(image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """The crop [112,112,3] uint8 of a picture [H,W,3] with landmarks [478,2] (pixel centres at integer + 0.5)."""
    move = similarity(five_points(landmarks) - 0.5, TEMPLATE)
    return np.asarray(cv2.warpAffine(image, move, (SIDE, SIDE), flags=cv2.INTER_LINEAR))


def embeddings(crops: Sequence[np.ndarray], session: Session) -> np.ndarray:
    """Unit vectors [N,D] of crops [112,112,3] uint8 RGB. Raises FormatError for a network that gives something else."""
    parts = []
    for start in range(0, len(crops), _BATCH):
        batch = np.stack(crops[start : start + _BATCH]).astype(np.float32)
        made = np.asarray(session(np.ascontiguousarray((batch / 127.5 - 1).transpose(0, 3, 1, 2))), np.float64)
        if made.ndim != 2 or len(made) != len(batch) or not np.isfinite(made).all():
            raise FormatError(
                f"The ArcFace network gave {list(made.shape)} for {len(batch)} faces, not one finite vector each: "
                "choose the ONNX file of a face recognition network."
            )
        parts.append(made / np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1e-12))
    return np.concatenate(parts)


def csim(made: np.ndarray, wanted: np.ndarray) -> float:
    """The mean cosine of unit vectors [N,D] with the direction of the mean of others [M,D]."""
    person = wanted.mean(0)
    return float((made @ (person / max(float(np.linalg.norm(person)), 1e-12))).mean())


def open_session(path: Path | str) -> Session:
    """The network in an ONNX file. Raises InputError where onnxruntime is missing, FormatError for another file."""
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError(
            "Identity similarity needs onnxruntime, which is not installed in the engine's Python: install it there "
            '(pip install "blendsplat[identity]"), or leave --arcface out.',
            repr(error),
        ) from error
    try:
        network: Any = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has an exception for every cause, and none in common
        raise FormatError(f"The ArcFace network {path} cannot be opened as ONNX.", repr(error)) from error
    takes = network.get_inputs()
    shape = takes[0].shape if takes else []
    if len(takes) != 1 or len(shape) != 4 or list(shape[1:]) != [3, SIDE, SIDE]:
        raise FormatError(
            f"The ArcFace network {path} takes {shape}, not pictures [N,3,112,112]: choose the ONNX file of a face "
            "recognition network (InsightFace's w600k_r50.onnx is one)."
        )
    name = takes[0].name
    if shape[0] == 1:  # made for one face at a time
        return lambda batch: np.concatenate([network.run(None, {name: one[None]})[0] for one in batch])
    return lambda batch: np.asarray(network.run(None, {name: batch})[0])
