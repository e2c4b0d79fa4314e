# SPDX-License-Identifier: Apache-2.0
"""Messages that the campaign (tests/support/soak) found to be too much, or to reach farther than was named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from blendsplat.errors import InputError
from blendsplat.jobs import options as opt
from blendsplat.jobs.options import ABSOLUTE, Options, validated
from blendsplat.serving.rendering import RenderRequest, render_gaussians
from blendsplat.serving.server import WeightsRequest

AVATAR = {"avatar": "/a.npz", "performance": "/p.npz", "output": "/o"}


@pytest.mark.parametrize(
    ("model", "values", "name", "said"),
    [
        (opt.ImportOptions, {"video": "/v", "directory": "/d"}, "matte", "masks"),
        (opt.ImportOptions, {"video": "/v", "directory": "/d"}, "matte", "../masks"),
        (opt.TrackOptions, {"directory": "/d"}, "weights", "./weights"),
        (opt.TrackOptions, {"directory": "/d"}, "weights", ".."),
        (opt.FitImageOptions, {"directory": "/d", "images": ["/i"]}, "weights", "../weights"),
        (opt.TrainOptions, {"directory": "/d", "output": "/o"}, "preset", "own.toml"),
        (opt.TrainOptions, {"directory": "/d", "output": "/o"}, "preset", "../presets/own.toml"),
        (opt.LiveOptions, {"source": "0", "output": "/o"}, "preset", "own.toml"),
        (opt.TrainKaolrmOptions, {"data": "/d", "output": "/o"}, "start", "./weights"),
        (opt.ConvertOptions, {"tracked": "/t", "output": "/o"}, "head", "heads/flame.pkl"),
        (opt.ConvertOptions, {"tracked": "/t", "output": "/o", "head": "human"}, "tracked_head", "heads/flame.pkl"),
        (opt.EvaluateHeadOptions, {}, "people_of", "heads/flame.pkl"),
        (WeightsRequest, {}, "weights", "../weights"),
    ],
)  # fmt: skip
def test_the_server_takes_no_relative_path_in_a_name_s_place(
    model: type[Options], values: dict[str, Any], name: str, said: str
) -> None:
    with pytest.raises(InputError, match="must be an absolute path on the engine's machine"):
        validated(model, values | {name: said}, "The job", ABSOLUTE)
    validated(model, values | {name: f"/somewhere/{said}"}, "The job", ABSOLUTE)
    validated(model, values | {name: said}, "The command")  # whose working folder the user knows


@pytest.mark.parametrize("name", ["draft", "kaolrm-mono", "openlrm-obj-small-1.1", "auto", "none"])
def test_names_are_names(name: str) -> None:
    assert validated(WeightsRequest, {"weights": name}, "weights.describe", ABSOLUTE).weights == name


@pytest.mark.parametrize("name", ["../../secret.npz", "/etc/passwd", "a/b.npz", "..", "a\\b.npz"])
def test_a_file_s_name_names_no_folder(name: str) -> None:
    with pytest.raises(InputError, match="without its folder"):
        validated(opt.EvaluateTrackingOptions, {"folders": ["/a"], "tracking": name}, "The job", ABSOLUTE)


@pytest.mark.parametrize("path", ["/" + "x" * 300, "/" + "a/" * 3000, "/\ud800", "~no such user/x"])
def test_what_no_system_takes_for_a_path(path: str) -> None:
    for values in (AVATAR | {"avatar": path}, AVATAR | {"output": path}):
        with pytest.raises(InputError) as told:
            validated(opt.RenderOptions, values, "The job", ABSOLUTE)
        assert len(told.value.sentence) < 400
    with pytest.raises(InputError):
        validated(WeightsRequest, {"weights": "x" * 100_000}, "weights.describe", ABSOLUTE)


def test_a_camera_that_cannot_be_drawn_by_is_the_sender_s_fault() -> None:
    rng = np.random.default_rng(0)
    shapes = {
        "means": (3, 3),
        "quats": (3, 4),
        "scales": (3, 3),
        "opacities": (3,),
        "colors": (3, 3),
        "viewmat": (4, 4),
    }
    arrays = {name: rng.random(shape).astype(np.float32) for name, shape in shapes.items()}
    skewed = np.array([[9, 2, 4], [0, 9, 4], [0, 0, 1]], np.float32)
    with pytest.raises(InputError, match=r"cannot be drawn: .*skew"):
        render_gaussians(RenderRequest(width=8, height=8, device="cpu"), arrays | {"K": skewed})
