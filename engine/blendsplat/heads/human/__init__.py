# SPDX-License-Identifier: Apache-2.0
"""The head that ships: free anatomy (MakeHuman's, CC0), baked into one file by ``tools/bake_head``.

Conventions beyond HeadModel's: identity coefficients are standard deviations of people, expression coefficients run
from 0 to 1 and bear ARKit's names. The jaw *joint* opens the mouth and the eye joints turn the eyes (lids follow by
pose correctives), so ARKit's jawOpen and eyeLook* are not among the shapes; ``heads.arkit.ARKIT_JOINTS`` maps them.
eyeBlink* closes the lids completely, and ``eyelid_directions`` are zero. UVs have v = 0 at the bottom. The origin lies
in the head's middle, at the height of the eyes.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch

from blendsplat.files import read_npz
from blendsplat.heads.families import HUMAN
from blendsplat.heads.model import HeadModel

FORMAT, VERSION = "blendsplat-human-head", 1
HEAD_FILE = Path(__file__).with_name("human_head.npz")
CHILD = "child"  # the last of the identity directions: from the mean adult to the mean child


@cache
def human_head() -> HeadModel:
    """The head (float32, CPU; the same object every time, so treat it as read-only), without landmark embedding."""
    meta, arrays = read_npz(HEAD_FILE, FORMAT, VERSION)
    metres_a_step = float(meta["step_mm"]) * 1e-3

    def tensor(name: str) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(arrays[name], np.float32))

    def index(name: str) -> torch.Tensor:
        return torch.from_numpy(arrays[name].astype(np.int64))

    def displacements(name: str) -> torch.Tensor:
        low_and_high = np.ascontiguousarray(np.moveaxis(arrays[name], 0, -1))
        return torch.from_numpy(low_and_high.view("<i2")[..., 0].astype(np.float32) * np.float32(metres_a_step))

    shapes = displacements("shape_directions")
    expressions = displacements("expression_directions")
    components = [f"identity_{number:02d}" for number in range(1, len(shapes))]
    return HeadModel(
        name="human",
        template=tensor("template"),
        faces=index("faces"),
        uvs=tensor("uvs"),
        uv_faces=index("uv_faces"),
        shape_directions=shapes,
        expression_directions=expressions,
        expression_names=tuple(str(name) for name in arrays["expression_names"]),
        eyelid_directions=torch.zeros(2, shapes.shape[1], 3),
        pose_directions=displacements("pose_directions"),
        joints=tensor("joints"),
        joint_shape_directions=tensor("joint_shape_directions"),
        joint_expression_directions=torch.zeros(len(expressions), 5, 3),
        skin_weights=tensor("skin_weights"),
        regions={
            name.removeprefix("region_"): value.astype(np.int64)
            for name, value in arrays.items()
            if name.startswith("region_")
        },
        expression_range=(0.0, 1.0),
        shape_names=(*components, CHILD),
        family=HUMAN,
    )
