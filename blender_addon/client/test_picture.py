# SPDX-License-Identifier: GPL-3.0-or-later
"""A small picture that the engine draws to show that it can: its Gaussians, and whether the answer is right.

A ring of colours around a white middle that hides a black one behind it, so that a wrong order of depth shows as well.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import preview, pump, session
from .link import LinkError

NAME = "Blendsplat Test Picture"
TOPIC = "test picture"
SIZE = 128  # pixels
PREVIEW = 0  # preview's number for it: jobs count from 1
_FOCAL, _DEPTH, _SIGMA, _RADIUS, _RING = 128.0, 2.0, 6.0, 40, 8
_TOLERANCE = 0.03  # an opaque Gaussian covers 99 %


@dataclass
class Report:
    """What came of the last picture."""

    image: np.ndarray = field(repr=False)  # [S,S,4] straight RGBA, first row at the top
    lines: list[str] = field(default_factory=list)


_report: Report | None = None


def report() -> Report | None:
    """The last picture that was right."""
    return _report


def lines() -> list[tuple[str, str]]:
    """(sentence, icon) to show of the last one; [] when none was asked for."""
    errand = session.errand(TOPIC)
    if _report is not None:
        return [(line, icon) for line, icon in zip(_report.lines, ("CHECKMARK", "BLANK1"), strict=True)]
    if errand is None:
        return []
    return [("Drawing a test picture...", "TIME")] if errand.waiting else [(errand.error, "ERROR")]


def gaussians() -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """(arrays of ``render.gaussians``, pixels [M,2] (x, y) to look at, their colours [M,3])."""
    angles = np.arange(_RING) * 2 * np.pi / _RING
    middle = SIZE // 2
    pixels = middle + np.rint(_RADIUS * np.stack([np.cos(angles), np.sin(angles)], -1)).astype(int)
    colors = np.array([colorsys.hsv_to_rgb(i / _RING, 0.9, 0.9) for i in range(_RING)])
    pixels = np.concatenate([pixels, [[middle, middle]] * 2])
    colors = np.concatenate([colors, [[1, 1, 1], [0, 0, 0]]])
    depths = np.full(len(pixels), _DEPTH)
    depths[-1] += 0.5
    offsets = (pixels + 0.5 - SIZE / 2) / _FOCAL  # pixel centres at integer + 0.5
    means = np.concatenate([offsets * depths[:, None], depths[:, None]], 1)
    arrays = {
        "means": means,
        "quats": np.tile([1.0, 0, 0, 0], (len(means), 1)),
        "scales": np.full((len(means), 3), _SIGMA / _FOCAL * _DEPTH),
        "opacities": np.ones(len(means)),
        "colors": colors,
        "viewmat": np.eye(4),
        "K": np.array([[_FOCAL, 0, SIZE / 2], [0, _FOCAL, SIZE / 2], [0, 0, 1]]),
    }
    return {name: array.astype(np.float32) for name, array in arrays.items()}, pixels[:-1], colors[:-1]


def straight(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """The engine's answer as straight RGBA [S,S,4] float32, when it is the right picture. Raises LinkError."""
    image, alpha = arrays.get("image"), arrays.get("alpha")
    again = "install the engine again, or choose another Device in the add-on's preferences."
    if image is None or alpha is None or image.shape != (SIZE, SIZE, 3) or alpha.shape != (SIZE, SIZE, 1):
        raise LinkError(f"The engine answered, but with no picture of the right size; {again}")
    _, pixels, colors = gaussians()
    x, y = pixels.T
    error = np.abs(image[y, x] - colors).max()
    empty = alpha[[0, 0, -1, -1], [0, -1, 0, -1]].max()
    # A comparison that a NaN fails
    if not (error < _TOLERANCE and alpha[y, x].min() > 1 - _TOLERANCE and empty < _TOLERANCE):
        raise LinkError(
            f"The engine draws, but not what it should (wrong by {error:.2f}, {empty:.2f} outside); {again}"
        )
    colour = np.divide(image, alpha, out=np.zeros_like(image), where=alpha > 1e-6)
    return np.concatenate([colour.clip(0, 1), alpha.clip(0, 1)], -1).astype(np.float32)


def draw(then: Any, failed: Any, wait: bool | None = None) -> session.Question:
    """Ask for the picture twice (the first warms up), then call ``then(report)``; ``failed(sentence)`` otherwise."""
    global _report
    _report = None

    def warmed(_result: Any, arrays: dict[str, np.ndarray]) -> None:
        straight(arrays)
        _ask(lambda _result, arrays: _drawn(arrays, then), failed, wait)

    return _ask(warmed, failed, wait)


def _ask(then: Any, failed: Any, wait: bool | None) -> session.Question:
    params = {"width": SIZE, "height": SIZE, "device": session.device()}
    return session.ask("render.gaussians", params, gaussians()[0], then=then, failed=failed, topic=TOPIC, wait=wait)


def _drawn(arrays: dict[str, np.ndarray], then: Any) -> None:
    global _report
    image = straight(arrays)
    hello, question = session.link.hello, session.errand(TOPIC)
    pending = question.pending if isinstance(question, session.Question) else None
    seconds = pending.seconds if pending is not None else 0.0
    lines = [
        f"The engine draws as it should: {device_name(session.device(), hello)}.",
        f"Version {hello.get('version', '?')}, torch {hello.get('torch') or '?'}, Python {hello.get('python', '?')}; "
        f"{seconds * 1000:.0f} ms a test picture.",
    ]
    _report = Report(image, lines)
    over_grey = image[..., :3] * image[..., 3:] + 0.18 * (1 - image[..., 3:])
    preview.show(PREVIEW, np.rint(over_grey * 255).astype(np.uint8))
    then(_report)


def device_name(wanted: str, hello: dict[str, Any]) -> str:
    """The device that the engine draws on, by its name: what "auto" means is the engine's rule."""
    devices = {str(item.get("id")): str(item.get("name") or item.get("id")) for item in hello.get("devices") or ()}
    if wanted == "auto":
        card = next((name for name in devices if name.startswith("cuda")), "cpu")
        wanted = card if (hello.get("kernels") or {}).get("cuda") else "cpu"
    wanted = "cuda:0" if wanted == "cuda" else wanted
    return devices.get(wanted, wanted)


def unregister() -> None:
    global _report
    _report = None


pump.shows(lambda: _report is not None)
