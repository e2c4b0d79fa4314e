# SPDX-License-Identifier: Apache-2.0
"""Avatars that networks draw (DipGuava) in Blender: every picture that Blender makes of one, with the real engine,
against the engine's own of the same frames."""

from __future__ import annotations

from pathlib import Path

import bpy
import exr
import numpy as np
import pytest
from blender_addon import formats
from blender_addon.client import jobs, session
from blender_addon.render import color, gather
from blender_addon.render import networks as asking
from blender_addon.scene import avatar_rig, networks
from blender_addon.ui.operators import train
from steps import ask, compare_frames, picture, the_avatar

import synthetic

pytestmark = pytest.mark.slow


def driven(depsgraph: bpy.types.Depsgraph, shown: str, asked: asking.Networks) -> gather.Gaussians:
    """All avatars, as the networks draw them."""
    return gather.joined([part.gaussians for part in gather.parts(depsgraph, shown, asked)])


MEAN = 1 / 255


@pytest.fixture
def pictures(dipguava) -> dict[str, np.ndarray]:
    with np.load(dipguava / "dip.npz") as data:
        return dict(data)


def passes(scene, path: Path) -> dict[str, np.ndarray]:
    """The passes of the present frame [H,W,4], first row at the top, premultiplied display values."""
    settings = scene.render.image_settings
    if hasattr(settings, "media_type"):
        settings.media_type = "MULTI_LAYER_IMAGE"
    settings.file_format, settings.color_depth, settings.exr_codec = "OPEN_EXR_MULTILAYER", "32", "NONE"
    scene.render.film_transparent, scene.render.filepath = True, str(path)
    bpy.ops.render.render(write_still=True)
    return {name: displayed(rgba) for name, rgba in exr.colors(path).items()}


def displayed(rgba: np.ndarray) -> np.ndarray:
    """Premultiplied light -> premultiplied display values."""
    light = rgba[..., :3] / np.maximum(rgba[..., 3:], 1e-6)
    return np.concatenate([color.linear_to_srgb(light) * rgba[..., 3:], rgba[..., 3:]], -1)


def differences(have: np.ndarray, want: np.ndarray) -> float:
    return float(np.abs(have - want).mean())


def test_the_file_and_the_mesh_say_that_networks_draw_it(dipguava_stage, dipguava):
    carrier = the_avatar(dipguava_stage)
    assert len(carrier.data.shape_keys.key_blocks) > 2, "its sliders are real keys"
    assert networks.drawn_by_networks(carrier) and networks.shown_of(carrier) == networks.FULL
    figures = formats.read_avatar(dipguava / "dip.avatar.npz").figures
    line = f"Held-out frames: networks {figures['psnr']:.1f} dB, sliders {figures['sliders_psnr']:.1f} dB"
    assert networks.cost_of(carrier) == line
    copy = carrier.copy()
    copy.data = carrier.data.copy()
    assert networks.cost_of(copy) == line


@pytest.mark.parametrize("view", ["full", "base", "residual", "sliders"])
def test_every_view_is_the_engines_own(dipguava_stage, pictures, view, tmp_path):
    the_avatar(dipguava_stage).blendsplat.shown = view.upper()
    compare_frames(dipguava_stage, pictures["rows"], pictures[view], tmp_path)
    others = [pictures[name] for name in ("full", "base", "residual", "sliders") if name != view]
    assert min(differences(pictures[view], other) for other in others) > 2 * MEAN, "the views differ"


def test_another_clips_performance_is_held_back(dipguava_stage, dipguava, pictures, tmp_path):
    dipguava_stage.blendsplat.acting.relative = False  # as blendsplat render plays it
    dipguava_stage.blendsplat.performance = str(dipguava / "foreign" / "tracking.npz")
    assert bpy.ops.blendsplat.apply_performance() == {"FINISHED"}
    carrier = the_avatar(dipguava_stage)
    assert carrier.blendsplat.foreign
    compare_frames(dipguava_stage, pictures["rows"], pictures["foreign"], tmp_path)
    carrier.blendsplat.foreign = False
    dipguava_stage.frame_set(1 + int(pictures["rows"][1]))
    softly = differences(picture(dipguava_stage, tmp_path / "softly.png"), pictures["foreign"][1])
    carrier.blendsplat.hold_back = 0.0
    free = differences(picture(dipguava_stage, tmp_path / "free.png"), pictures["foreign"][1])
    assert free > MEAN and softly < free


def test_a_moved_rig_with_its_camera_is_the_same_picture(dipguava_stage, pictures, tmp_path):
    """The networks see the head in its own space: where the artist puts it does not light it anew."""
    carrier, camera = the_avatar(dipguava_stage), dipguava_stage.camera
    empty = bpy.data.objects.new("Moved", None)
    dipguava_stage.collection.objects.link(empty)
    carrier.blendsplat.head.blendsplat.rig.parent = empty
    camera.parent = empty
    empty.location, empty.rotation_euler, empty.scale = (1, -2, 0.5), (0.4, 0.3, 1.2), (2, 2, 2)
    compare_frames(dipguava_stage, pictures["rows"], pictures["full"], tmp_path)


def test_what_else_deforms_the_head_moves_the_networks_as_it_moves_the_sliders(dipguava_stage):
    """A modifier of the artist's on the head: both carriers' Gaussians go along."""
    carrier = the_avatar(dipguava_stage)
    head = carrier.blendsplat.head
    depsgraph = bpy.context.evaluated_depsgraph_get()
    before = gathered(depsgraph)
    lattice = head.modifiers.new("Bulge", "DISPLACE")
    lattice.strength, lattice.mid_level = 0.05, 0.0
    head.modifiers.new("Finer", "SUBSURF").levels = 1
    depsgraph = bpy.context.evaluated_depsgraph_get()
    moved = [after - old for after, old in zip(gathered(depsgraph), before, strict=True)]
    for part in moved:
        assert 0.03 < np.linalg.norm(part, axis=1).mean() < 0.07
    head.modifiers["Finer"].show_viewport = False
    decimate = head.modifiers.new("Fewer", "DECIMATE")
    decimate.ratio = 0.2
    with pytest.raises(networks.NetworksError, match="takes vertices away"):
        gathered(bpy.context.evaluated_depsgraph_get())


@pytest.mark.parametrize("what", ["carrier", "head"])
def test_networks_stand_where_the_sliders_stand(dipguava_stage, what):
    """A moved carrier takes both along; a head that leaves its bones, none."""
    carrier = the_avatar(dipguava_stage)
    item = carrier if what == "carrier" else carrier.blendsplat.head
    before = gathered(bpy.context.evaluated_depsgraph_get())
    item.location, item.rotation_euler, item.scale = (1, -2, 0.5), (0.4, 0.3, 1.2), (2, 2, 2)
    bpy.context.view_layer.update()
    matrix = np.array(item.matrix_world if what == "carrier" else np.eye(4))
    for have, old in zip(gathered(bpy.context.evaluated_depsgraph_get()), before, strict=True):
        np.testing.assert_allclose(have, old @ matrix[:3, :3].T + matrix[:3, 3], atol=2e-4)


def gathered(depsgraph) -> list[np.ndarray]:
    """Places of the Gaussians as the sliders and as the networks have them."""
    asked = asking.Networks(depsgraph, ask)
    return [gather.gather(depsgraph).means, driven(depsgraph, gather.COMBINED, asked).means]


def test_a_missing_file_is_said_and_nothing_else_is_rendered_instead(dipguava_stage, dipguava, pictures, tmp_path):
    carrier, path = the_avatar(dipguava_stage), tmp_path / "dip.avatar.npz"
    path.rename(tmp_path / "away.npz")
    words = rf"networks of 'dip' are in its avatar file, and there is no file .*{path.name}: choose it in the panel"
    with pytest.raises(RuntimeError, match=words):
        bpy.ops.render.render()
    carrier.blendsplat.shown = "SLIDERS"
    compare_frames(dipguava_stage, pictures["rows"][:1], pictures["sliders"][:1], tmp_path)
    carrier.blendsplat.shown = "FULL"
    carrier.blendsplat.avatar_path = str(tmp_path / "away.npz")
    compare_frames(dipguava_stage, pictures["rows"][:1], pictures["full"][:1], tmp_path)
    carrier.blendsplat.avatar_path = ""
    with pytest.raises(RuntimeError, match="no file is chosen"):
        bpy.ops.render.render()
    (tmp_path / "broken.npz").write_bytes(b"nothing")
    carrier.blendsplat.avatar_path = str(tmp_path / "broken.npz")
    with pytest.raises(RuntimeError, match=r"broken.npz .*For 'dip': choose it .* set Render to Sliders"):
        bpy.ops.render.render()


def test_base_and_residual_are_passes_beside_the_combined_one(dipguava_stage, pictures, tmp_path):
    layer = dipguava_stage.view_layers[0]
    layer.blendsplat.use_pass_base = layer.blendsplat.use_pass_residual = True
    row = pictures["rows"][1]
    dipguava_stage.frame_set(1 + int(row))
    planes = passes(dipguava_stage, tmp_path / "all.exr")
    for name, view in (("Combined", "full"), ("Base", "base"), ("Residual", "residual")):
        assert differences(planes[name], np.minimum(pictures[view][1], 1)) < MEAN, name
    layer.blendsplat.use_pass_residual = False
    assert set(passes(dipguava_stage, tmp_path / "two.exr")) == {"Combined", "Base"}


def test_other_systems_are_in_the_base_and_not_in_the_residual(dipguava_stage, tmp_path):
    """Two systems in one picture; and a place where both stand twice, as instances."""
    path = synthetic.write_avatar(tmp_path / "ann.avatar.npz")
    ann = avatar_rig.build_avatar(bpy.context, formats.read_avatar(path), "Ann")
    assert not networks.drawn_by_networks(ann) and networks.shown_of(ann) == networks.SLIDERS
    dip = next(item for item in dipguava_stage.objects if networks.drawn_by_networks(item))
    depsgraph = bpy.context.evaluated_depsgraph_get()
    asked = asking.Networks(depsgraph, ask)
    mine, theirs = len(gather.read(dip.evaluated_get(depsgraph).data)), 500
    count = {name: len(driven(depsgraph, name, asked)) for name in ("Combined", "Base", "Residual")}
    assert count == {"Combined": mine + theirs, "Base": mine + theirs, "Residual": mine}
    group = bpy.data.collections.new("G")
    group.objects.link(dip)
    empty = bpy.data.objects.new("I", None)
    dipguava_stage.collection.objects.link(empty)
    empty.instance_type, empty.instance_collection, empty.location = "COLLECTION", group, (1, 0, 0)
    depsgraph = bpy.context.evaluated_depsgraph_get()
    asked = asking.Networks(depsgraph, ask)
    both = driven(depsgraph, "Residual", asked).means
    assert len(both) == 2 * mine
    away = np.abs(both[:mine] - both[mine:])
    np.testing.assert_allclose(away, np.broadcast_to([1, 0, 0], away.shape), atol=1e-5)


def test_sliders_need_neither_file_nor_engine_to_be_seen(dipguava_stage, monkeypatch, tmp_path):
    (tmp_path / "dip.avatar.npz").unlink()
    session.stop()
    monkeypatch.setattr(session, "engine_command", lambda: ["/no/such/engine"])
    assert len(gather.gather(bpy.context.evaluated_depsgraph_get())) > 50


def test_a_training_says_what_its_sliders_cost():
    job = jobs.Job("train", {})
    assert train.cost_line(None) == train.cost_line(job) == ""
    for figures, line in (
        ({"loss": 0.01, "psnr": 31.26, "sliders_psnr": 30.0}, "Held-out frames: networks 31.3 dB, sliders 30.0 dB"),
        ({"loss": 0.01, "psnr": 31.26}, ""),  # an avatar without networks costs nothing
        ({"psnr": None, "sliders_psnr": 30.0}, "Held-out frames: sliders 30.0 dB"),
        (None, ""),
    ):
        job.result = {"figures": figures}
        assert train.cost_line(job) == line


def test_packed_the_blend_is_enough(dipguava_stage, pictures, tmp_path):
    """The avatar's file is gone, and the .blend somewhere else: the networks still draw."""
    blend = tmp_path / "shot.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(blend))
    assert bpy.ops.blendsplat.pack_avatar() == {"FINISHED"}
    bpy.ops.wm.save_mainfile()
    (tmp_path / "dip.avatar.npz").unlink()
    moved = tmp_path / "farm ü" / "shot.blend"
    moved.parent.mkdir()
    blend.rename(moved)
    bpy.ops.wm.open_mainfile(filepath=str(moved))
    compare_frames(bpy.context.scene, pictures["rows"][:1], pictures["full"][:1], tmp_path)
