# SPDX-License-Identifier: Apache-2.0
"""The carrier's mesh: its two layouts hold the same Gaussians, and files saved with the older one go on."""

from __future__ import annotations

import shutil
from pathlib import Path

import bpy
import numpy as np
import pytest
from blender_addon import formats
from blender_addon.render import gather
from blender_addon.scene import avatar_nodes, avatar_rig, carrier_mesh, keyframes, learned_keys
from blender_addon.scene.carrier_mesh import COMPACT, FULL

import synthetic

EARLIER = Path(__file__).parents[1] / "support" / "five_blocks"
FRAMES = (1, 9, 15)


def some_gaussians(count: int, seed: int = 1) -> carrier_mesh.Gaussians:
    draw = np.random.default_rng(seed).normal
    parts = [draw(size=(count, width)).astype(np.float32) for width in (3, 3, 4, 1, 3)]
    return carrier_mesh.Gaussians(parts[0], parts[1], parts[2], np.abs(parts[3][:, 0]) % 1, parts[4])


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7, 100])
@pytest.mark.parametrize("layout", [COMPACT, FULL], ids=lambda layout: layout.name)
def test_a_layout_gives_back_what_it_took(layout, count):
    given = some_gaussians(count)
    vertices = layout.join(given)
    assert len(vertices) == layout.vertices(count)
    for vertex, axis in layout.free(len(vertices)):
        vertices[vertex, axis] = 99.0  # nothing reads it
    have = layout.split(vertices)
    for name in ("positions", "quats", "colors", "log_scales", "opacities"):
        kept = layout == FULL or name in ("positions", "quats", "colors")
        np.testing.assert_array_equal(getattr(have, name), getattr(given, name) if kept else 0)
    assert len(layout.free(len(vertices))) == (0 if layout == FULL and count == 1 else 2)


@pytest.mark.parametrize("layout", [COMPACT, FULL], ids=lambda layout: layout.name)
def test_a_mesh_says_where_its_gaussians_sit(scene, tmp_path, layout):
    file = formats.read_avatar(synthetic.write_avatar(tmp_path / "a.avatar.npz"))
    mesh = avatar_rig._carrier_mesh(file, "Ann", layout)
    tangents, bitangents = avatar_rig.tangent_weights(file)
    have = carrier_mesh.places_of(mesh)
    assert carrier_mesh.layout_of(mesh) == layout and carrier_mesh.count_of(mesh) == file.gaussians
    np.testing.assert_array_equal(have.corners, file.rig.faces[file.arrays["triangle"]])
    np.testing.assert_allclose(have.barycentrics, file.arrays["barycentrics"], atol=1e-6)
    np.testing.assert_allclose(have.tangents, tangents, atol=1e-6)
    np.testing.assert_allclose(have.bitangents, bitangents, atol=1e-6)
    mesh.attributes.remove(mesh.attributes["corner_1"])
    with pytest.raises(KeyError):
        carrier_mesh.places_of(mesh)


# --- files saved with five blocks


@pytest.fixture
def earlier(scene, tmp_path):
    """The .blend of an earlier version, opened beside its avatar's file."""
    path = tmp_path / "ann.blend"
    shutil.copy(EARLIER / "ann.blend", path)
    synthetic.write_avatar(tmp_path / "ann.avatar.npz", 60, 3, size=8)
    bpy.ops.wm.open_mainfile(filepath=str(path))
    return bpy.data.objects["Ann"]


def as_it_was(atol: float = 1e-6) -> None:
    """What is shown is what was shown when the file was saved."""
    with np.load(EARLIER / "shown.npz") as archive:
        for frame in FRAMES:
            bpy.context.scene.frame_set(frame)
            have = gather.gather(bpy.context.evaluated_depsgraph_get()).as_arrays()
            same = np.sign((have["quats"] * archive[f"quats_{frame}"]).sum(1, keepdims=True))
            have["quats"] = have["quats"] * same  # q and -q are one rotation
            for name, values in have.items():
                np.testing.assert_allclose(values, archive[f"{name}_{frame}"], atol=atol, err_msg=f"{name} {frame}")


def test_it_opens_and_plays_with_its_own_nodes(earlier):
    tree = earlier.modifiers[0].node_group
    as_it_was()
    assert carrier_mesh.layout_of(earlier.data) == FULL and earlier.modifiers[0].node_group == tree
    assert tree["blendsplat_version"] == 2
    assert list(learned_keys.found(earlier)) == [0, 1, 2]


def test_live_moves_it(earlier):
    earlier.blendsplat.live = True
    as_it_was(2e-4)


def test_update_avatar_makes_it_compact_and_keeps_what_the_artist_made(earlier):
    curves = {curve.data_path: len(curve.keyframe_points) for curve in keyframes.fcurves(earlier.data.shape_keys)}
    bpy.context.scene.blendsplat.avatar_file = "//ann.avatar.npz"
    assert bpy.ops.blendsplat.add_avatar() == {"FINISHED"}
    assert [item for item in bpy.context.scene.objects if item.blendsplat.kind == "AVATAR"] == [earlier]
    assert carrier_mesh.layout_of(earlier.data) == COMPACT and len(earlier.data.vertices) == 3 * 60 + 21
    assert not avatar_nodes.outdated(earlier.modifiers[0].node_group, COMPACT)
    as_it_was(2e-6)
    keys = earlier.data.shape_keys
    assert [key.name for key in keys.key_blocks] == ["Basis", "Blendshape 01", "smile", "Blendshape 03", "my own"]
    assert list(learned_keys.found(earlier)) == [0, 1, 2]
    assert {curve.data_path: len(curve.keyframe_points) for curve in keyframes.fcurves(keys)} == curves
    assert [driver.data_path for driver in keys.animation_data.drivers] == ['key_blocks["my own"].value']


def test_what_was_moved_in_vain_stays_where_it_was_shown(earlier):
    """Until then an avatar stood at its head, wherever its object was."""
    earlier.location, earlier.rotation_euler = (1, 2, 3), (0.1, 0.2, 0.3)
    as_it_was(1e-5)
    avatar_rig.replace_avatar(earlier, formats.read_avatar(Path(bpy.path.abspath("//ann.avatar.npz"))))
    as_it_was(2e-6)
    earlier.location.x += 1
    bpy.context.view_layer.update()
    with np.load(EARLIER / "shown.npz") as archive:
        away = gather.gather(bpy.context.evaluated_depsgraph_get()).means - archive[f"means_{FRAMES[-1]}"]
    np.testing.assert_allclose(away, np.broadcast_to([1, 0, 0], away.shape), atol=2e-6)


def test_a_key_of_the_artists_that_moves_sizes_keeps_the_five_blocks(earlier):
    keys = earlier.data.shape_keys.key_blocks
    keys["my own"].data[60].co.x += 0.7  # the second block: log-scales
    bpy.context.scene.frame_set(9)
    want = gather.gather(bpy.context.evaluated_depsgraph_get())
    file = formats.read_avatar(Path(bpy.path.abspath("//ann.avatar.npz")))
    avatar_rig.replace_avatar(earlier, file)
    assert carrier_mesh.layout_of(earlier.data) == FULL
    assert not avatar_nodes.outdated(earlier.modifiers[0].node_group, FULL)
    bpy.context.view_layer.update()
    have = gather.gather(bpy.context.evaluated_depsgraph_get())
    np.testing.assert_allclose(have.scales, want.scales, rtol=1e-5)
    np.testing.assert_allclose(have.means, want.means, atol=2e-6)
    np.testing.assert_allclose(have.colors, want.colors, atol=2e-6)
    assert have.scales[0, 0] > 1.5 * np.exp(file.arrays["log_scales"][0, 0])


@pytest.mark.parametrize("how", ["the modifier", "its node group"])
def test_deleted_nodes_come_back_for_five_blocks(earlier, how):
    if how == "the modifier":
        earlier.modifiers.remove(earlier.modifiers[0])
    else:
        bpy.data.node_groups.remove(earlier.modifiers[0].node_group)
    assert bpy.ops.blendsplat.repair_avatar() == {"FINISHED"}
    as_it_was(2e-6)


def test_two_layouts_side_by_side_have_a_node_group_each(earlier, tmp_path):
    other = avatar_rig.build_avatar(
        bpy.context, formats.read_avatar(synthetic.write_avatar(tmp_path / "b.avatar.npz", seed=3)), "Bea"
    )
    earlier.modifiers.remove(earlier.modifiers[0])
    avatar_rig.restore_nodes(earlier)
    groups = [item.modifiers[0].node_group for item in (earlier, other)]
    assert groups == [avatar_nodes.avatar_group(FULL), avatar_nodes.avatar_group(COMPACT)] and groups[0] != groups[1]
    assert len(gather.gather(bpy.context.evaluated_depsgraph_get())) == 560
