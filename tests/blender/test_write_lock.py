# SPDX-License-Identifier: Apache-2.0
"""Blenders that forget to allow changes after a render are reminded; to others nothing happens."""

from __future__ import annotations

import threading

import bpy
import pytest
from blender_addon.client import pump
from blender_addon.render import write_lock

_begun = {name: threading.Event() for name in "ab"}
_left = {name: threading.Event() for name in "ab"}


class Waits(bpy.types.Operator):
    """Two of its polls in two threads do what a panel and a render do: the first to begin is the first to end"""

    bl_idname = "wm.blendsplat_test_waits"
    bl_label = "Waits"

    @classmethod
    def poll(cls, context):
        name = threading.current_thread().name
        _begun[name].set()
        _left[name].wait(5)
        return False

    def execute(self, context):
        return {"CANCELLED"}


@pytest.fixture
def forgotten(scene):
    """A scene in which changes are forbidden, where this Blender can be brought to it -> whether it could."""
    bpy.utils.register_class(Waits)
    poll = bpy.ops.wm.blendsplat_test_waits.poll
    threads = {name: threading.Thread(name=name, target=poll) for name in "ab"}
    for name, thread in threads.items():
        _begun[name].clear()
        _left[name].clear()
        thread.start()
        assert _begun[name].wait(5)
    for name, thread in threads.items():
        _left[name].set()
        thread.join(5)
    yield not may_write(scene)
    write_lock.take_back()
    bpy.utils.unregister_class(Waits)


def may_write(scene) -> bool:
    try:
        scene.frame_step = scene.frame_step
    except AttributeError:
        return False
    return True


def test_changes_are_allowed_again(scene, forgotten) -> None:
    if bpy.app.version[:2] == (5, 0):
        assert forgotten, "else the test shows nothing"
    write_lock.take_back()
    assert may_write(scene)
    write_lock.take_back()
    assert may_write(scene), "and once more is no harm"


def test_it_is_done_after_a_render(scene, forgotten, monkeypatch) -> None:
    pump.turn()
    assert may_write(scene) != forgotten, "not before"
    write_lock._rendered(scene, None)
    pump.turn()
    assert may_write(scene) and not write_lock._due
