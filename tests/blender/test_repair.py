# SPDX-License-Identifier: Apache-2.0
"""What an artist deletes of an avatar: found, said in the panel and by the render, and one button brings it back."""

from __future__ import annotations

from collections.abc import Callable

import bpy
import numpy as np
import pytest
from blender_addon.ui.panels.steps import BLENDSPLAT_PT_avatar
from drawn import drawn
from steps import positions, the_avatar, work


def head_of(scene) -> bpy.types.Object:
    return the_avatar(scene).blendsplat.head


def press_delete(*items: bpy.types.Object) -> None:
    for item in bpy.context.view_layer.objects:
        item.hide_set(False)
        item.select_set(item in items)
    assert bpy.ops.object.delete() == {"FINISHED"}


def the_head(scene) -> None:
    press_delete(head_of(scene))


def head_and_bones(scene) -> None:
    press_delete(head_of(scene), head_of(scene).blendsplat.rig)


def the_bones(scene) -> None:
    press_delete(head_of(scene).blendsplat.rig)


def the_head_for_good(scene) -> None:
    bpy.data.objects.remove(head_of(scene))


def all_for_good(scene) -> None:
    head = head_of(scene)
    bpy.data.objects.remove(head.blendsplat.rig)
    bpy.data.objects.remove(head)


def the_modifier(scene) -> None:
    carrier = the_avatar(scene)
    carrier.modifiers.remove(carrier.modifiers[0])


def the_node_group(scene) -> None:
    bpy.data.node_groups.remove(the_avatar(scene).modifiers[0].node_group)


def the_modifiers_head(scene) -> None:
    modifier = the_avatar(scene).modifiers[0]
    for name in [name for name in modifier.keys() if isinstance(modifier[name], bpy.types.Object)]:  # noqa: SIM118
        modifier[name] = None


DELETED = {
    the_head: "head", head_and_bones: "head", the_bones: "bones", the_head_for_good: "head", all_for_good: "head",
    the_modifier: "Geometry Nodes", the_node_group: "Geometry Nodes", the_modifiers_head: "Geometry Nodes",
}  # fmt: skip


@pytest.mark.parametrize(("delete", "named"), DELETED.items(), ids=lambda value: getattr(value, "__name__", ""))
@pytest.mark.parametrize("reopened", [False, True], ids=["at once", "saved and opened"])
def test_what_was_deleted_comes_back(scene, engine, video, tmp_path, delete: Callable, named: str, reopened: bool):
    work(scene)
    assert not bpy.ops.blendsplat.repair_avatar.poll()
    scene.frame_set(9)
    want = positions(the_avatar(scene))
    delete(scene)
    if reopened:
        bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
        bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
        scene = bpy.context.scene
    carrier = the_avatar(scene)
    (sentence,) = [words for words in drawn(BLENDSPLAT_PT_avatar) if words.startswith(carrier.name + " has lost")]
    assert named in sentence
    assert bpy.ops.blendsplat.repair_avatar() == {"FINISHED"}
    assert not any("has lost" in words for words in drawn(BLENDSPLAT_PT_avatar))
    scene.frame_set(1)
    scene.frame_set(9)
    np.testing.assert_allclose(positions(carrier), want, atol=1e-5)
    assert (
        carrier.blendsplat.head.name in scene.objects and carrier.blendsplat.head.blendsplat.rig.name in scene.objects
    )


def test_a_head_that_only_the_file_could_bring_back(scene, engine, video):
    work(scene)
    carrier = the_avatar(scene)
    all_for_good(scene)
    known, carrier.blendsplat.avatar_path = carrier.blendsplat.avatar_path, "/away/anna.avatar.npz"
    with pytest.raises(RuntimeError, match=r"anna\.avatar\.npz"):
        bpy.ops.blendsplat.repair_avatar()
    carrier.blendsplat.avatar_path = known
    assert bpy.ops.blendsplat.repair_avatar() == {"FINISHED"}


def test_what_the_artist_put_on_it_stays(scene, engine, video):
    work(scene)
    carrier = the_avatar(scene)
    own = carrier.modifiers.new("mine", "WEIGHTED_NORMAL")
    the_modifier(scene)
    assert bpy.ops.blendsplat.repair_avatar() == {"FINISHED"}
    assert [item.name for item in carrier.modifiers] == ["Gaussians", own.name]
    carrier.modifiers[0].show_viewport = False  # switched off is no loss
    assert not bpy.ops.blendsplat.repair_avatar.poll()
    head_of(scene).name = "somebody"
    assert not bpy.ops.blendsplat.repair_avatar.poll(), "a head may be renamed"


def test_a_render_says_what_is_lost(scene, engine, video, tmp_path, capfd):
    work(scene)
    assert bpy.ops.blendsplat.use_render_engine() == {"FINISHED"}
    the_head_for_good(scene)
    scene.render.resolution_x = scene.render.resolution_y = 16
    scene.render.filepath = str(tmp_path / "a.png")
    bpy.ops.render.render(write_still=True)
    assert "has lost its head" in "".join(capfd.readouterr())
