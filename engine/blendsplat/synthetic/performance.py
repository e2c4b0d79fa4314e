# SPDX-License-Identifier: Apache-2.0
"""A talking performance for a head with ARKit-named expressions: speech, blinks, gaze, brows, smiles and head turns.

Everything is a smooth function of time and a seed, so a clip of it has a known truth to score a tracker on.
"""

from __future__ import annotations

import numpy as np
import torch

from blendsplat.heads.model import JAW_JOINT, HeadModel, HeadParams

SYLLABLES_PER_SECOND = 4.2
_JAW_OPEN = 0.36  # radians that a head without a jaw joint opens at jawOpen = 1
_BLINK_CLOSES, _BLINK_OPENS = 0.07, 0.13  # seconds
# What the mouth does in a syllable: jaw opening in radians, then expression weights.
VISEMES: tuple[tuple[float, dict[str, float]], ...] = (
    (0.21, {"mouthLowerDownLeft": 0.3, "mouthLowerDownRight": 0.3,
            "mouthUpperUpLeft": 0.15, "mouthUpperUpRight": 0.15}),  # ah
    (0.12, {"mouthStretchLeft": 0.25, "mouthStretchRight": 0.25,
            "mouthUpperUpLeft": 0.25, "mouthUpperUpRight": 0.25}),  # eh
    (0.07, {"mouthStretchLeft": 0.3, "mouthStretchRight": 0.3, "mouthSmileLeft": 0.25, "mouthSmileRight": 0.25,
            "mouthLowerDownLeft": 0.25, "mouthLowerDownRight": 0.25}),  # ee
    (0.14, {"mouthFunnel": 0.55}),  # oh
    (0.05, {"mouthPucker": 0.7, "mouthFunnel": 0.15}),  # oo
    (0.00, {"mouthPressLeft": 0.4, "mouthPressRight": 0.4, "mouthRollLower": 0.25, "mouthRollUpper": 0.25}),  # m, b, p
    (0.04, {"mouthRollLower": 0.4, "mouthUpperUpLeft": 0.3, "mouthUpperUpRight": 0.3}),  # f, v
    (0.08, {"mouthLowerDownLeft": 0.25, "mouthLowerDownRight": 0.25,
            "mouthUpperUpLeft": 0.1, "mouthUpperUpRight": 0.1}),  # l, d
)  # fmt: skip


def talking_performance(head: HeadModel, frames: int, fps: float, seed: int = 7, start: float = 0.0) -> HeadParams:
    """Parameters of ``frames`` frames from ``start`` seconds on (shape has one row, of zeros; set the identity
    yourself)."""
    rng = np.random.default_rng(seed)
    time = start + np.arange(frames) / fps
    params = head.neutral(frames)
    params.shape = params.shape[:1]
    curves = _expression_curves(time, rng)
    jaw = _speech(time, rng, curves)
    for name, values in curves.items():
        if name in head.expression_names:
            weights = torch.as_tensor(values, dtype=torch.float32).clamp(0, 1)
            params.expression[:, head.expression_names.index(name)] = weights
    if float(head.skin_weights[:, JAW_JOINT].sum()) > 0:
        params.jaw_pose[:, 0] = torch.as_tensor(jaw, dtype=torch.float32)
    elif "jawOpen" in head.expression_names:
        opened = torch.as_tensor(jaw / _JAW_OPEN, dtype=torch.float32).clamp(0, 1)
        params.expression[:, head.expression_names.index("jawOpen")] = opened
    params.neck_pose = torch.as_tensor(_head_turns(time), dtype=torch.float32)
    gaze = torch.as_tensor(_gaze(time, rng), dtype=torch.float32)
    params.eyes_pose = gaze[:, None].repeat(1, 2, 1)
    params.translation = torch.as_tensor(_sway(time), dtype=torch.float32)
    return params


def _expression_curves(time: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Slow moods and blinks: name -> [F] weights."""
    smile = 0.55 * _pulse(time, 1.6, 0.9) + 0.6 * _pulse(time, 5.2, 1.1) + 0.4 * _pulse(time, 8.3, 0.8)
    brows = 0.6 * _pulse(time, 3.2, 0.7) + 0.5 * _pulse(time, 6.8, 0.6)
    frown = 0.5 * _pulse(time, 4.3, 0.5)
    curves = {
        "mouthSmileLeft": smile,
        "mouthSmileRight": 0.92 * smile,
        "cheekSquintLeft": 0.5 * smile,
        "cheekSquintRight": 0.5 * smile,
        "eyeSquintLeft": 0.2 * smile + 0.15 * frown,
        "eyeSquintRight": 0.2 * smile + 0.15 * frown,
        "browInnerUp": brows,
        "browOuterUpLeft": 0.8 * brows,
        "browOuterUpRight": 0.7 * brows,
        "browDownLeft": frown,
        "browDownRight": frown,
    }
    blink = np.zeros_like(time)
    moment = 0.8
    while moment < time[-1] + 1:
        # A blink closes in two frames and opens in three or four at 25 fps.
        pace = np.where(time < moment, _BLINK_CLOSES, _BLINK_OPENS)
        blink = np.maximum(blink, np.exp(-(np.abs((time - moment) / pace) ** 3)))
        moment += rng.uniform(1.4, 2.6)
    curves["eyeBlinkLeft"] = curves["eyeBlinkRight"] = blink
    return curves


def _speech(time: np.ndarray, rng: np.random.Generator, curves: dict[str, np.ndarray]) -> np.ndarray:
    """Add a string of syllables with pauses to ``curves``; returns the jaw's opening [F] in radians."""
    jaw = np.zeros_like(time)
    moment, width = 0.25, 0.55 / SYLLABLES_PER_SECOND
    while moment < time[-1] + 0.5:
        opening, shapes = VISEMES[rng.integers(len(VISEMES))]
        stress = rng.uniform(0.6, 1.15)
        bump = stress * np.exp(-(((time - moment) / width) ** 2))
        jaw += opening * bump
        for name, weight in shapes.items():
            curves[name] = curves.get(name, 0) + weight * bump
        # A mouth is never quite alike on both sides; brows go with the stress.
        curves["mouthLeft"] = curves.get("mouthLeft", 0) + max(0.0, rng.normal(0, 0.12)) * bump
        curves["mouthRight"] = curves.get("mouthRight", 0) + max(0.0, rng.normal(0, 0.12)) * bump
        curves["browInnerUp"] = curves["browInnerUp"] + max(0.0, 0.6 * (stress - 0.95)) * bump
        moment += rng.uniform(0.8, 1.2) / SYLLABLES_PER_SECOND + (0.5 if rng.random() < 0.08 else 0)
    return jaw


def _head_turns(time: np.ndarray) -> np.ndarray:
    """Rotation vectors [F,3]: nods, turns and tilts that a speaker makes, up to about 22 degrees of yaw."""
    turn = np.radians(18) * np.sin(2 * np.pi * time / 4.6) + np.radians(4) * np.sin(2 * np.pi * time / 1.7 + 1)
    nod = np.radians(6) * np.sin(2 * np.pi * time / 2.9 + 0.5) + np.radians(2) * np.sin(2 * np.pi * time / 0.9)
    tilt = np.radians(5) * np.sin(2 * np.pi * time / 3.7 + 2)
    return np.stack([nod, turn, tilt], -1)


def _gaze(time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rotation vectors [F,3] of both eyes: fixations of about a second that partly undo the head's turn."""
    targets = rng.uniform(-1, 1, (int(time[-1]) + 3, 2)) * np.radians([5, 10])
    held = targets[np.minimum(np.floor(time / 0.9).astype(int), len(targets) - 1)]
    head = _head_turns(time)
    gaze = np.zeros((len(time), 3))
    gaze[:, :2] = held - 0.4 * head[:, :2]
    kernel = np.ones(3) / 3  # saccades are quick, but not within one frame
    for axis in range(2):
        gaze[:, axis] = np.convolve(np.pad(gaze[:, axis], 1, mode="edge"), kernel, mode="valid")
    return gaze


def _sway(time: np.ndarray) -> np.ndarray:
    """Translations [F,3] in metres of a sitting speaker."""
    return np.stack(
        [
            0.006 * np.sin(2 * np.pi * time / 4.6),
            0.003 * np.sin(2 * np.pi * time / 2.9),
            0.008 * np.sin(2 * np.pi * time / 5.3 + 1),
        ],
        -1,
    )


def _pulse(time: np.ndarray, centre: float, width: float) -> np.ndarray:
    """A smooth bump of height 1 that returns every 9.5 seconds, so long clips stay lively."""
    distance = np.abs((time - centre + 4.75) % 9.5 - 4.75)
    return np.exp(-((distance / width) ** 4))
