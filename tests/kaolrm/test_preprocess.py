# SPDX-License-Identifier: Apache-2.0
"""Cut-outs for the network: white where nothing is, corners kept, other arrays refused."""

from __future__ import annotations

import numpy as np
import pytest

from blendsplat.errors import InputError
from blendsplat.kaolrm import prepare_cutout


def test_transparent_is_white_whatever_colour_lies_there():
    rgba = np.random.default_rng(0).integers(0, 256, (20, 30, 4), np.uint8)
    rgba[..., 3] = 0
    assert (prepare_cutout(rgba, 28) > 1 - 1e-6).all()


def test_corners_lie_on_corners_and_nothing_leaves_the_range():
    rgba = np.zeros((9, 5, 4), np.uint8)
    rgba[..., 3] = 255
    rgba[0, 0, 0] = rgba[-1, -1, 1] = 255
    picture = prepare_cutout(rgba, 56)
    assert picture.shape == (3, 56, 56) and picture[0, 0, 0] > 1 - 1e-6 and picture[1, -1, -1] > 1 - 1e-6
    assert picture.min() >= 0 and picture.max() <= 1


@pytest.mark.parametrize(
    "array",
    [np.zeros((9, 9, 3), np.uint8), np.zeros((9, 9, 4)), np.zeros((9, 9), np.uint8), np.zeros((1, 9, 4), np.uint8)],
    ids=["no alpha", "floats", "grey", "a row"],
)  # fmt: skip
def test_other_arrays_are_named(array):
    with pytest.raises(InputError, match="cut-out is an array"):
        prepare_cutout(array)
