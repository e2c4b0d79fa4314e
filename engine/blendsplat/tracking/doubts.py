# SPDX-License-Identifier: Apache-2.0
"""Parts of the face that the pictures of some frames do not confirm: how much their pixels count in training, and what
the user is told of them.

A hand before the mouth is nothing of the person: an avatar must not learn it. What is before the face all along (dark
glasses) has become what the person looks like, is confirmed by every picture and is learned as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance
from blendsplat.refinement.regions import REGIONS, regions_of_faces
from blendsplat.tracking.drawn_head import DrawnHead

DOUBTED, TRUSTED = 0.25, 0.6  # confidence up to which a region's pixels count nothing, and from which they count fully
WATCHED = tuple(name for name in REGIONS if name not in ("hair", "neck"))  # the others move by themselves
MARGIN = 0.006  # metres around a region: what covers it covers its neighbourhood
TOLD = 0.4  # confidence below which the user is told
SHORTEST = 0.1  # seconds of a stretch that is told of
APART = 0.2  # seconds between two doubtful stretches that are told as one
MOST = 3  # stretches that a note names
WHOLE = 0.7  # of the watched regions doubtful at once: it is the whole face's matter
USUALLY = 0.5  # of the frames in which a region is doubtful: what covers it is how the person looks in this clip
_BOTH, _EYES = ("left eye", "right eye"), "eyes"
ALIKE = 0.5  # of their frames in common: two regions' stretches are told in one sentence


def trust(confidence: np.ndarray) -> np.ndarray:
    """Confidence of any shape -> what pixels count, 0 to 1: usual ups and downs change nothing."""
    shares: np.ndarray = np.clip((confidence - DOUBTED) / (TRUSTED - DOUBTED), 0, 1)
    return shares


def region_shares(tracking: Performance) -> np.ndarray | None:
    """[F,R+1] what the pixels of the regions, and of what is none, count in the frames; None where nobody knows. Those
    that are doubtful in most of the frames count fully: what covers them is how the person looks."""
    if tracking.regions != REGIONS:
        return None
    shares = np.ones((tracking.frame_count, len(REGIONS) + 1))
    watched = [REGIONS.index(name) for name in WATCHED]
    shares[:, watched] = trust(tracking.region_confidence[:, watched])
    shares[~tracking.valid] = 1  # whole frames that count nothing
    for column in watched:
        if (shares[tracking.valid, column] < 0.5).mean() > USUALLY:
            shares[:, column] = 1
    return shares


@dataclass(frozen=True)
class PixelTrust:
    """shares [F,R+1] of the regions and of what is none; region [T] of each of the head's faces."""

    shares: np.ndarray
    region: np.ndarray

    @classmethod
    def of(cls, tracking: Performance, head: HeadModel) -> PixelTrust | None:
        """None where every region is trusted in every frame, or nobody knows."""
        shares = region_shares(tracking)
        return None if shares is None or shares.min() >= 1 else cls(shares, regions_of_faces(head))

    def weigh(self, drawn: DrawnHead, valid: np.ndarray) -> np.ndarray:
        """valid [H,W] uint8 of a frame, lowered where its mesh shows what is not trusted."""
        shares = self.shares[drawn.index]
        if shares.min() >= 1:
            return valid
        region = np.append(self.region, len(REGIONS))[drawn.face_ids]
        counted = np.round(255 * shares[region]).astype(np.uint8)
        size = 2 * max(round(MARGIN * drawn.neck.scale), 1) + 1
        counted = cv2.erode(counted, np.ones((size, size), np.uint8))
        counted = cv2.blur(counted, (size // 2 | 1, size // 2 | 1), borderType=cv2.BORDER_REPLICATE)
        weighed: np.ndarray = cv2.multiply(valid, counted, scale=1 / 255)
        return weighed


def notes_on_doubts(tracking: Performance, known: Sequence[int] = ()) -> tuple[str, ...]:
    """What the user is told of the regions that the pictures do not confirm; frames are numbered as the images are.
    known: frames whose trouble was told before."""
    if tracking.regions != REGIONS:
        return ()
    doubtful = np.stack([tracking.region_confidence[:, REGIONS.index(name)] < TOLD for name in WATCHED], 1)
    asked = tracking.valid.copy()
    asked[[frame for frame in known if 0 <= frame < len(asked)]] = False
    doubtful &= asked[:, None]
    count = int(asked.sum())
    unseen = [name for name, column in zip(WATCHED, doubtful.T, strict=True) if column.sum() > USUALLY * count]
    notes = _notes_on_unseen(unseen, doubtful.sum(0), count)
    doubtful[:, [WATCHED.index(name) for name in unseen]] = False
    whole = doubtful.mean(1) > WHOLE
    if stretches := doubtful_stretches(whole, tracking.timestamps):
        notes.append(
            f"The pictures hardly confirm the face in {_frames(stretches)}: it is blurred, covered, turned away or "
            "badly lit there. Training trusts these frames less."
        )
    found = {name: doubtful_stretches(column & ~whole, tracking.timestamps)
             for name, column in zip(WATCHED, doubtful.T, strict=True)}  # fmt: skip
    for names in _alike({name: stretches for name, stretches in found.items() if stretches}, tracking.frame_count):
        stretches = max((found[name] for name in names), key=_length)
        verb, it = ("is", "it") if len(names) == 1 else ("are", "them")
        notes.append(
            f"{_listed(names)} {verb} covered or not seen in {_frames(stretches)}: training leaves {it} out there."
        )
    return tuple(notes)


def _notes_on_unseen(names: list[str], counts: np.ndarray, total: int) -> list[str]:
    """On regions that are doubtful in most of the frames; counts [W]: in how many, of each of WATCHED."""
    if not names:
        return []
    least = min(int(counts[WATCHED.index(name)]) for name in names)
    verb, its, it = ("is", "its", "it") if len(names) == 1 else ("are", "their", "them")
    return [
        f"{_listed(names)} {verb} not seen in {least} of {total} frames: {its} movements are guessed, and training "
        f"learns what is before {it}."
    ]


def _listed(names: list[str]) -> str:
    """Regions as the beginning of a sentence: "The mouth, the chin and the nose"; both eyes are "the eyes"."""
    if set(_BOTH) <= set(names):
        names = [_EYES if name == _BOTH[0] else name for name in names if name != _BOTH[1]]
    words = [f"the {name}" for name in names]
    sentence = " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
    return sentence[0].upper() + sentence[1:]


def doubtful_stretches(doubtful: np.ndarray, timestamps: np.ndarray) -> list[tuple[int, int]]:
    """First and last frames of the stretches of doubtful [F] that are long enough to be told, at timestamps [F]
    seconds; two that lie close together are one."""
    frames = np.flatnonzero(doubtful)
    if not len(frames):
        return []
    usual = float(np.median(np.diff(timestamps))) if len(timestamps) > 1 else 1.0
    breaks = np.flatnonzero(np.diff(timestamps[frames]) > APART + usual) + 1
    ends = [(int(part[0]), int(part[-1])) for part in np.split(frames, breaks)]
    return [(one, last) for one, last in ends if timestamps[last] - timestamps[one] + usual >= SHORTEST]


def _alike(found: dict[str, list[tuple[int, int]]], count: int) -> list[list[str]]:
    """Regions whose stretches are mostly the same, together."""
    groups: list[tuple[list[str], np.ndarray]] = []
    for name, stretches in found.items():
        here = np.zeros(count, bool)
        for first, last in stretches:
            here[first : last + 1] = True
        for names, there in groups:
            if (here & there).sum() > ALIKE * (here | there).sum():
                names.append(name)
                break
        else:
            groups.append(([name], here))
    return [names for names, _ in groups]


def _length(stretches: list[tuple[int, int]]) -> int:
    return sum(last - first + 1 for first, last in stretches)


def _frames(stretches: list[tuple[int, int]]) -> str:
    """ "frames 31-60, 80-95 and 2 more stretches", the longest ones named."""
    named = sorted(sorted(stretches, key=lambda ends: ends[0] - ends[1])[:MOST])
    words = ", ".join(f"{first}-{last}" if last > first else str(first) for first, last in named)
    left = len(stretches) - len(named)
    return f"frames {words}" + (f" and {left} more stretch{'es' if left > 1 else ''}" if left else "")
