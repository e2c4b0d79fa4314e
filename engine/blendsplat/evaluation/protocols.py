# SPDX-License-Identifier: Apache-2.0
"""Whose rules a score follows: which frames, which pixels, at which size; and what keeps it from being comparable.

A paper's figure is a figure of its protocol as much as of its method. Ours judges avatars fairly among each other
(training/scored_pixels.py); the papers' are there to stand beside their tables, and say when they cannot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from blendsplat.errors import InputError


@dataclass(frozen=True)
class Protocol:
    """holdout: last share (below 1) or number of frames; None: the avatar's own. pixels: "clip"
    (training/scored_pixels) or "whole", every pixel. size: the longer side that is scored at, at most the clip's own;
    None: as the avatar was trained. clamped: LPIPS sees the render held to [0,1]. network: the LPIPS that the paper
    prints."""

    name: str
    title: str
    holdout: float | None = None
    pixels: str = "clip"
    size: int | None = None
    clamped: bool = True
    network: str = ""


PROTOCOLS = {
    one.name: one
    for one in (
        Protocol("blendsplat", "Blendsplat's own"),
        Protocol("rgbavatar", "RGBAvatar's (its public code)", 350, "whole", 512, clamped=False, network="vgg"),
        Protocol("dipguava", "DipGuava's (section 5)", 0.3, "whole", 512, network="vgg"),
    )
}
LEAST_TRAINED = 2.0  # times as many frames as are scored that a paper's clips leave for training


def protocol_of(name: str) -> Protocol:
    """Raises InputError that says which there are."""
    if name not in PROTOCOLS:
        raise InputError(f"There is no protocol {name!r}; choose of {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[name]


def last_frames(valid: Sequence[bool], holdout: float) -> list[int]:
    """The frames that a protocol scores: of the last ``holdout`` (a share below 1, else a number; all frames where
    there are fewer) those that are valid [F]."""
    frames = len(valid)
    held = round(frames * holdout) if holdout < 1 else int(holdout)
    return [number for number in range(max(frames - held, 0), frames) if valid[number]]


def caveats(
    protocol: Protocol,
    frames: int,
    scored: Sequence[int],
    trained: Sequence[int] | None,
    side: int,
    network: str | None,
) -> list[str]:
    """Sentences on what keeps these figures from being compared with other ones; none where nothing does.

    frames: of the clip; scored: their numbers; trained: those that the avatar was trained on, None where its file does
    not say, or is of another tracking; side: the longer side of what was scored, pixels; network: the LPIPS used.
    """
    notes = []
    if trained is None:
        notes.append(
            "NOT COMPARABLE for all that is known: the avatar's file does not say which frames of this tracking it "
            "was trained on, so the scored ones may be among them."
        )
    elif seen := len(set(trained) & set(scored)):
        notes.append(
            f"NOT COMPARABLE: the avatar was trained on {seen} of the {len(scored)} frames that are scored. Train it "
            f"with holdout = {protocol.holdout if protocol.holdout is not None else 0.3:g} and evaluate again."
        )
    if protocol.holdout is not None and protocol.holdout >= 1 and frames < (1 + LEAST_TRAINED) * protocol.holdout:
        notes.append(
            f"NOT COMPARABLE: {protocol.title} protocol scores the last {protocol.holdout:g} frames of clips of "
            f"minutes, and this clip has {frames} frames."
        )
    if protocol.size is not None and side < protocol.size:
        notes.append(f"Scored at {side} pixels, the clip's own size; the paper's pictures have {protocol.size}.")
    if protocol.network and network and network != protocol.network:
        notes.append(f"LPIPS is {network}'s, the paper's is {protocol.network}'s: these two numbers do not compare.")
    return notes
