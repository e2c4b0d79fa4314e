# SPDX-License-Identifier: Apache-2.0
"""A head's sliders as the panels draw them, seen by a stand-in for Blender's layout."""

from __future__ import annotations

from types import SimpleNamespace

import bpy
import numpy as np
import pytest
import synthetic_fit
from blender_addon import formats
from blender_addon.scene import arkit, head_rig
from blender_addon.ui.panels.layout import sliders


class Layout:
    """Remembers the groups and the sliders that were drawn. Without ``unfold`` groups that begin folded stay so."""

    def __init__(self, unfold: bool = True) -> None:
        self.drawn: dict[str, list[str]] = {"": []}
        self.closed: set[str] = set()
        self._group, self._unfold = "", unfold

    def panel(self, _idname: str, default_closed: bool):
        header = SimpleNamespace(label=lambda text: self._begin(text, default_closed))
        return header, None if default_closed and not self._unfold else self

    def _begin(self, text: str, closed: bool) -> None:
        self._group = text
        self.drawn[text] = []
        if closed:
            self.closed.add(text)

    def column(self, align: bool):
        return self

    def prop(self, key, _name: str, text: str, slider: bool) -> None:
        assert slider and key.name == text, "a slider bears its shape key's name, so that the key is found by it"
        self.drawn[self._group].append(text)


def head(*names: str) -> SimpleNamespace:
    keys = [SimpleNamespace(name=name) for name in ("Basis", *names)]

    class Blocks(list):
        def __getitem__(self, which):
            return next(key for key in keys if key.name == which) if isinstance(which, str) else keys[which]

    return SimpleNamespace(data=SimpleNamespace(shape_keys=SimpleNamespace(key_blocks=Blocks(keys))))


@pytest.mark.parametrize("last", ["identity child", 'identity jaw "wide" ü'])
def test_what_bears_a_name_is_above_what_is_numbered(last):
    """A child's face is the last of 81 directions: nobody scrolls that far to find it."""
    layout, numbered = Layout(), [f"identity {index:02d}" for index in range(1, 81)]
    sliders(layout, head("jawOpen", *numbered, last, "corrective jaw 0"), lambda name: name.startswith("identity "))
    assert layout.drawn == {"": [last, *numbered]}


def test_the_numbered_expressions_of_another_head_stay_in_order_below_its_lids():
    layout, numbered = Layout(), [f"expression{index:03d}" for index in range(12)]
    sliders(layout, head(*numbered, "Eyelid L", "Eyelid R"), lambda name: True)
    assert layout.drawn[""] == ["Eyelid L", "Eyelid R", *numbered]


def test_arkits_sliders_are_in_groups_and_the_small_ones_begin_folded():
    layout = Layout()
    sliders(layout, head(*reversed(arkit.NAMES), "wrinkle"), lambda name: True)
    groups = {group.capitalize(): list(names) for group, names in arkit.GROUPS.items()}
    assert layout.drawn == {"": [], **groups, "More": ["wrinkle"]}
    assert layout.closed == {"Cheeks", "Nose", "Tongue", "More"}
    folded = Layout(unfold=False)
    sliders(folded, head(*arkit.NAMES), lambda name: True)
    assert folded.drawn["Brows"] and not folded.drawn["Tongue"]


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
