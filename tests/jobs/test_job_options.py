# SPDX-License-Identifier: Apache-2.0
"""Options of jobs: what is wrong is named, with what is allowed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from blendsplat.errors import InputError
from blendsplat.jobs.options import (
    ABSOLUTE,
    EvaluateFitOptions,
    GenerateHeadsOptions,
    ImportOptions,
    RecordingOptions,
    RenderOptions,
    SelftestOptions,
    TrackOptions,
    TrainKaolrmOptions,
    TrainOptions,
    validated,
)


@pytest.mark.parametrize(
    ("model", "values", "words"),
    [
        (SelftestOptions, {"secnds": 1}, "no option 'secnds'; did you mean 'seconds'"),
        (SelftestOptions, {"zzz": 1}, "no option 'zzz'; known are seconds, steps"),
        (SelftestOptions, {"steps": 0}, "'steps' cannot be 0: input should be greater"),
        (SelftestOptions, {"seconds": "long"}, "'seconds' cannot be 'long'"),
        (TrainOptions, {"output": "/a"}, "needs the option 'directory'"),
        (TrainOptions, {"directory": "clip", "output": "/a"}, "'directory'.*must be an absolute path"),
        (TrainOptions, {"directory": "/a\0b", "output": "/a"}, "'directory'.*is not a path"),
        (TrainOptions, {"directory": "", "output": "/a"}, "'directory'.*absolute"),
        (TrainOptions, {"directory": "/a", "output": "/a", "device": "gpu"}, "'device' cannot be 'gpu'"),
        (ImportOptions, {"video": "/v", "directory": "/d", "start": math.nan}, "'start'"),
        (ImportOptions, {"video": "/v", "directory": "/d", "crop": [1, 2]}, "'crop'"),
        (TrackOptions, {"directory": "/d", "head": "heads/flame.pkl"}, "'head' cannot be.*absolute"),
        (RecordingOptions, {"source": "/s", "directory": "/d", "head": "flame.pkl"}, "'head' cannot be.*absolute"),
        (EvaluateFitOptions, {"fits": ["a"]}, "'fits' cannot be.*must be an absolute path"),
        (EvaluateFitOptions, {"views": 1}, "'views' cannot be 1"),
        (EvaluateFitOptions, {"unit": 0}, "'unit' cannot be 0"),
        (GenerateHeadsOptions, {"directory": "/d", "layout": "stereo"}, "'layout' cannot be 'stereo'.*multi-view"),
        (GenerateHeadsOptions, {"directory": "/d", "widest": 120}, "'widest' cannot be 120"),
        (TrainKaolrmOptions, {"data": "/d", "output": "/o", "stage": 3}, "'stage' cannot be 3"),
        (TrainKaolrmOptions, {"data": "/d"}, "needs the option 'output'"),
        (RenderOptions, {"avatar": "/a", "performance": "/p", "output": "/o", "width": 10**6}, "'width'"),
    ],
)
def test_wrong_options_are_named(model: Any, values: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        validated(model, values, "The job", ABSOLUTE)


def test_heads_have_names_or_absolute_paths() -> None:
    for head in ("human", "/heads/flame.pkl"):
        assert validated(TrackOptions, {"directory": "/d", "head": head}, "track", ABSOLUTE).head == head


def test_relative_paths_are_fine_on_the_command_line() -> None:
    assert validated(TrackOptions, {"directory": "clip", "head": "flame.pkl"}, "track").head == "flame.pkl"
    assert validated(TrainOptions, {"directory": "clip", "output": "a"}, "train").directory == Path("clip")
