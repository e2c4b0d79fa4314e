# SPDX-License-Identifier: Apache-2.0
"""Of a matte only what hangs together with the followed face: a second person beside it is background.

The network finds persons, not one of them; what is left of another would become part of the avatar.
"""

from __future__ import annotations

import cv2
import numpy as np

_PART = 25  # of 255: a matte from here on belongs to somebody
_GAP = 0.012  # of the picture's side: strands of hair so far apart from the head are its own


def only_person(matte: np.ndarray, points: np.ndarray | None) -> np.ndarray:
    """Matte [H,W] uint8 without the parts that do not hang together with the face, whose landmarks are ``points``
    [L,2+] in its pixels. Without a face, and where the face lies outside of the matte, it is returned as it is."""
    if points is None:
        return matte
    height, width = matte.shape
    reach = max(1, round(_GAP * max(height, width)))
    around = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    joined = cv2.dilate((matte >= _PART).astype(np.uint8), around)
    count, labels = cv2.connectedComponents(joined)
    if count <= 2:  # the background and one person
        return matte
    at = np.round(points[:, :2]).astype(int)
    at = at[((at >= 0) & (at < (width, height))).all(1)]
    votes = np.bincount(labels[at[:, 1], at[:, 0]], minlength=count)
    votes[0] = 0
    if votes.max() < len(points) / 4:
        return matte
    person = labels == votes.argmax()
    others = cv2.dilate((joined.astype(bool) & ~person).astype(np.uint8), around, iterations=3)  # with their soft edges
    return np.where(others.astype(bool) & ~person, 0, matte).astype(np.uint8)
