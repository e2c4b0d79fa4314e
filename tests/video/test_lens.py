# SPDX-License-Identifier: Apache-2.0
"""Pictures of a zooming lens at one focal length: where points go, what lies outside, and nothing without zoom."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from blendsplat.video.lens import without_zoom

CENTRE = np.array([70.0, 55.0])


@pytest.mark.parametrize("zoom", [1.3, 0.8])
def test_a_spot_goes_where_its_point_goes(zoom: float) -> None:
    picture, middle = np.zeros((120, 160), np.uint8), np.array([95.5, 39.5])
    cv2.circle(picture, (95, 39), 5, (255,), -1)
    picture = cv2.GaussianBlur(picture, (0, 0), 2)
    moved = without_zoom(picture, zoom, CENTRE)
    weights = moved / moved.sum()
    found = np.array([(weights.sum(0) @ (np.arange(160) + 0.5)), (weights.sum(1) @ (np.arange(120) + 0.5))])
    np.testing.assert_allclose(found, CENTRE + (middle - CENTRE) / zoom, atol=0.03)


def test_what_no_picture_shows_is_nothing_or_continued() -> None:
    white = np.full((60, 80, 3), 255, np.uint8)
    assert without_zoom(white, 1.5, CENTRE)[0, 0].tolist() == [0, 0, 0]
    assert (without_zoom(white, 1.5, CENTRE, continued=True) == 255).all()
    assert (without_zoom(white, 0.8, CENTRE) == 255).all(), "a wide frame has more than is asked for"
    assert without_zoom(white, 1.0, CENTRE) is white
