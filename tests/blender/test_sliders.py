# SPDX-License-Identifier: Apache-2.0
"""The sliders of a head's shape as the panels draw them, seen by a stand-in for Blender's layout."""

from __future__ import annotations

from types import SimpleNamespace

import bpy
import numpy as np
import pytest
import synthetic_fit
from blender_addon import formats
from blender_addon.scene import head_rig
from blender_addon.ui.panels.layout import identity_sliders


class Column:
    """Remembers the sliders that were drawn."""

    def __init__(self) -> None:
        self.drawn: list[str] = []

    def prop(self, key, _name: str, text: str, slider: bool) -> None:
        assert slider and key.name == text, "a slider bears its shape key's name, so that the key is found by it"
        self.drawn.append(text)


def head(*names: str) -> SimpleNamespace:
    keys = [SimpleNamespace(name=name) for name in ("Basis", *names)]

    class Blocks(list):
        def __getitem__(self, which):
            return next(key for key in keys if key.name == which) if isinstance(which, str) else keys[which]

    return SimpleNamespace(data=SimpleNamespace(shape_keys=SimpleNamespace(key_blocks=Blocks(keys))))


@pytest.mark.parametrize("last", ["identity child", 'identity jaw "wide" ü'])
def test_what_bears_a_name_is_above_what_is_numbered(last):
    """A child's face is the last of 81 directions: nobody scrolls that far to find it."""
    column, numbered = Column(), [f"identity {index:02d}" for index in range(1, 81)]
    identity_sliders(column, head("jawOpen", *numbered, last, "corrective jaw 0"))
    assert column.drawn == [last, *numbered]


@pytest.mark.parametrize(("value", "low", "high"), [(0.4, -1, 1), (-1.3, -2, 2)])
def test_the_step_to_a_child_goes_once_to_both_sides(scene, value, low, high):
    """At three times a child's difference from an adult there is no face any more."""
    meta, arrays = synthetic_fit.identity_head()
    meta["shape_names"] = ["identity_01", "child", *meta["shape_names"][2:]]
    shape = np.array([0.5, value, 0, 0], np.float32)
    rig = formats.rig_from(meta, arrays | {"rig.shape": shape}, "human")
    made = head_rig.build_head(bpy.context, rig, "Human", np.zeros(len(rig.expression_names)))
    keys = made.data.shape_keys.key_blocks
    assert (keys["identity child"].slider_min, keys["identity child"].slider_max) == (low, high)
    assert keys["identity child"].value == pytest.approx(value)
    assert (keys["identity 01"].slider_min, keys["identity 01"].slider_max) == (-3, 3)
