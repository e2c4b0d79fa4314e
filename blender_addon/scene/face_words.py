# SPDX-License-Identifier: GPL-3.0-or-later
"""A slider's name read as an artist reads it: which part of the face, what it does there, which side, what its other
side is called. Names only; what has no telling name is looked at in face_regions.
"""

from __future__ import annotations

import re

from . import arkit

GROUPS = ("brows", "eyes", "lids", "gaze", "cheeks", "nose", "jaw", "mouth", "tongue", "head", "board")
TITLES = {
    "brows": "Brows", "eyes": "Eyes", "lids": "Lids", "gaze": "Gaze", "cheeks": "Cheeks", "nose": "Nose", "jaw": "Jaw",
    "mouth": "Mouth", "tongue": "Tongue", "head": "Head and Neck", "board": "Control Board",
    "": "More",
}  # fmt: skip
_STEMS = {
    "brow": "brows", "eyelid": "lids", "eye": "eyes", "cheek": "cheeks", "nose": "nose", "jaw": "jaw", "mouth": "mouth",
    "tongue": "tongue",
}  # fmt: skip
_IN_THE_EYES = {"eyeBlink": "lids", "eyeLook": "gaze"}
# The whole part moves to a side: no two sides of one, but a mirror shows the one for the other
_SIDEWAYS = {"mouthLeft", "mouthRight", "jawLeft", "jawRight"}
_SIDE = re.compile(r"^(?P<stem>.*?)(?P<gap>[ ._-]?)(?P<side>Left|Right|left|right|L|R|l|r)$")
_OTHER = {"Left": "Right", "left": "right", "L": "R", "l": "r"}
_OTHER |= {right: left for left, right in _OTHER.items()}
_NUMBERED = re.compile(r"^(?:expression|expr|exp)[ _.]?0*(\d+)$", re.IGNORECASE)
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+|[^\W\d_]+")


def group_of(name: str) -> str:
    """The part of the face that a name tells; "" where it tells none."""
    if name in arkit.NAMES:
        for start, group in _IN_THE_EYES.items():
            if name.startswith(start):
                return group
        return next(group for group, names in arkit.GROUPS.items() if name in names)
    spoken = words(name)
    return _STEMS.get(spoken[0].lower(), "") if spoken else ""


def other_side(name: str) -> str:
    """What the same thing on the other side is called: "mouthSmileLeft" -> "mouthSmileRight"; "" for what names no
    side. A letter counts as a side where something parts it from the word before."""
    match = _SIDE.match(name)
    if match is None or not match["stem"]:
        return ""
    if len(match["side"]) == 1 and not match["gap"]:
        return ""
    if match["side"] in ("left", "right") and not match["gap"]:
        return ""
    return f"{match['stem']}{match['gap']}{_OTHER[match['side']]}"


def side_of(name: str) -> str:
    """ "L", "R" or "" for what names no side."""
    match = _SIDE.match(name)
    return match["side"][0].upper() if match is not None and other_side(name) else ""


def linked_to(name: str) -> str:
    """What moves along where both sides are linked: the other side; of a gaze to one side the same gaze of the other
    eye, which is outwards for one and inwards for the other; "" for a movement of the whole part to a side."""
    if name in _SIDEWAYS:
        return ""
    other = other_side(name)
    if name.startswith("eyeLookIn"):
        return other.replace("eyeLookIn", "eyeLookOut")
    if name.startswith("eyeLookOut"):
        return other.replace("eyeLookOut", "eyeLookIn")
    return other


def is_pair(name: str) -> bool:
    """It is one side of a thing that has two."""
    return bool(other_side(name)) and name not in _SIDEWAYS


def words(name: str) -> list[str]:
    """A name's words: "mouthSmileLeft" -> ["mouth", "Smile", "Left"]."""
    return _WORD.findall(name)


def label(name: str, part: str = "", short: bool = True) -> str:
    """What stands on a slider: "Smile L", in full "Mouth Smile L"; of a numbered one its number and the ``part`` of the
    face that it moves: "expr 0  mouth corner"."""
    numbered = _NUMBERED.match(name)
    if numbered is not None:
        return f"expr {numbered[1]}  {part}".rstrip()
    if name not in arkit.NAMES:
        return f"{name}  {part}".rstrip() if not group_of(name) else name
    spoken = words(name)
    if is_pair(name):
        spoken[-1] = side_of(name)
    if short and len(spoken) > 1:
        spoken = spoken[1:]
    return " ".join(word.capitalize() for word in spoken)


def found(query: str, *texts: str) -> bool:
    """Every word of the query is in one of the texts, or in them read as words."""
    hay = " ".join([*texts, *(" ".join(words(text)) for text in texts)]).casefold()
    return all(word in hay for word in query.casefold().split())
