# SPDX-License-Identifier: Apache-2.0
"""Fitted photographs in the scene: the head is the engine's, the camera the photograph's, the skin the picture; and
what an artist did is still there when the same photograph is brought again."""

from __future__ import annotations

import json
from pathlib import Path

import bpy
import numpy as np
import oracle
import pytest
import synthetic_fit
from blender_addon import formats, space
from blender_addon.render import camera as cameras
from blender_addon.scene import fit_scene, head_rig, photo_material, photo_projection

import synthetic


def answer(folder: Path):
    """The engine's answer to ``head.rig``, without a process."""
    return synthetic_fit.head_rig(folder) if (folder / "tracking.npz").exists() else "There is no clip."


def bring_again(folder: Path) -> bpy.types.Object:
    return fit_scene.bring_fit(bpy.context, folder, answer(folder))


def bring(folder: Path, **how) -> bpy.types.Object:
    return bring_again(synthetic_fit.write_fit(folder, **how))


def positions(head: bpy.types.Object) -> np.ndarray:
    """What Blender shows, in the rig's space."""
    mesh = head.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    values = np.empty(len(mesh.vertices) * 3, np.float32)
    mesh.attributes["position"].data.foreach_get("vector", values)
    return values.reshape(-1, 3)


def wanted(folder: Path, **changed: np.ndarray) -> np.ndarray:
    """What the engine would compute, some numbers changed."""
    tracking = synthetic_fit.read(folder / "tracking.npz") | changed
    return space.to_blender(synthetic_fit.vertices(tracking))


def key(head: bpy.types.Object, name: str) -> bpy.types.ShapeKey:
    return head.data.shape_keys.key_blocks[name]


def test_the_head_is_the_engines(scene, tmp_path):
    head = bring(tmp_path / "anna")
    assert np.abs(positions(head) - wanted(tmp_path / "anna")).max() < 1e-6
    shape = synthetic_fit.read(tmp_path / "anna/tracking.npz")["shape"]
    for name, value in zip(synthetic_fit.IDENTITIES[:3], shape, strict=False):
        slider = key(head, f"identity {name}")
        assert slider.value == pytest.approx(value, abs=1e-6) and slider.slider_min <= -3 and slider.slider_max >= 3
    basis = np.array([tuple(point.co) for point in key(head, "Basis").data])
    np.testing.assert_allclose(basis, space.to_blender(synthetic_fit.identity_head()[1]["rig.template"]), atol=1e-7)


def test_sliders_and_bones_do_what_the_engine_would(scene, tmp_path):
    """Identity moves the joints too: a turned jaw turns about the changed person's joint."""
    head, folder = bring(tmp_path / "anna"), tmp_path / "anna"
    shape = np.array([-2.5, 2.9, 1.1, 0], np.float32)
    for name, value in zip(synthetic_fit.IDENTITIES[:3], shape, strict=False):
        key(head, f"identity {name}").value = value
    assert np.abs(positions(head) - wanted(folder, shape=shape)).max() < 1e-6
    bones = head.blendsplat.rig.pose.bones
    bones["jaw"].rotation_euler, bones["neck"].rotation_euler = (0.5, 0, 0), (0, 0.7, 0)
    turned = {"jaw_pose": np.array([[0.5, 0, 0]]), "neck_pose": np.array([[0, 0.7, 0]])}
    assert np.abs(positions(head) - wanted(folder, shape=shape, **turned)).max() < 1e-6


def test_a_head_of_many_directions_is_exact_where_it_was_fitted(scene, tmp_path, monkeypatch):
    """More directions move the joints than a driver's text can hold (FLAME): the fitted numbers shift nothing, and no
    driver needs scripts to be allowed."""
    monkeypatch.setattr(synthetic_fit, "IDENTITIES", tuple(f"shape {index}" for index in range(60)))
    head = bring(tmp_path / "anna")
    assert np.abs(positions(head) - wanted(tmp_path / "anna")).max() < 1e-6
    drivers = [curve.driver for curve in head.blendsplat.rig.animation_data.drivers]
    assert len(drivers) == 15 and all(driver.is_valid and driver.is_simple_expression for driver in drivers)
    key(head, "identity shape 3").value += 0.5
    shape = synthetic_fit.read(tmp_path / "anna/tracking.npz")["shape"]
    shape[3] += 0.5
    assert np.abs(positions(head) - wanted(tmp_path / "anna", shape=shape)).max() < 1e-3


@pytest.mark.parametrize("size", [(96, 64), (64, 96), (80, 80)])
def test_through_the_camera_the_head_lies_on_the_photograph(scene, tmp_path, size):
    bring(tmp_path / "other", person_seed=7)
    head = bring(tmp_path / "anna", size=size)
    tracking = synthetic_fit.read(tmp_path / "anna/tracking.npz")
    points = synthetic_fit.vertices(tracking) @ tracking["viewmat"][:3, :3].T + tracking["viewmat"][:3, 3]
    pixels = points @ tracking["K"].T
    view = cameras.view_of(scene, bpy.context.evaluated_depsgraph_get(), scene.camera)
    assert (view.width, view.height) == size
    world = np.array([head.matrix_world @ point.co for point in head.evaluated_get(
        bpy.context.evaluated_depsgraph_get()).data.vertices])  # fmt: skip
    seen = (world @ view.viewmat[:3, :3].T + view.viewmat[:3, 3]) @ view.K.T
    np.testing.assert_allclose(seen[:, :2] / seen[:, 2:], pixels[:, :2] / pixels[:, 2:], atol=2e-3)
    background = scene.camera.data.background_images[0]
    assert Path(background.image.filepath) == tmp_path / "anna/photograph.jpg"
    assert scene.camera.data.show_background_images and tuple(background.image.size) == size


def render(scene: bpy.types.Scene, path: Path) -> np.ndarray:
    """RGBA [H,W,4] of the scene's camera, as Blender saves it."""
    scene.render.engine, scene.cycles.samples, scene.render.film_transparent = "CYCLES", 4, True
    scene.cycles.use_denoising, scene.render.dither_intensity = False, 0
    scene.render.image_settings.file_format, scene.render.filepath = "PNG", str(path)
    bpy.ops.render.render(write_still=True)
    image = bpy.data.images.load(str(path))
    return np.array(image.pixels[:]).reshape(image.size[1], image.size[0], 4)[::-1]


def test_the_picture_is_on_the_skin(scene, tmp_path):
    """Rendered through its camera, a head with its photograph on it is the photograph; elsewhere it is the texture."""
    head = bring(tmp_path / "anna", texture=True, calm=0.03)
    shown = render(scene, tmp_path / "shown.png")
    inside, photograph = shown[..., 3] > 0.99, synthetic_fit.picture(96, 64) / 255
    assert inside.mean() > 0.4
    assert (np.abs(shown[..., :3] - photograph).max(-1)[inside] < 0.01).mean() > 0.4
    attribute = head.data.attributes[photo_material.seen_name(1)]
    for seen, wanted_colors in ((1, photograph), (0, np.array([30, 200, 40]) / 255)):
        attribute.data.foreach_set("value", np.full(len(attribute.data), seen, np.float32))
        head.data.update()
        shown = render(scene, tmp_path / f"{seen}.png")
        assert (np.abs(shown[..., :3] - wanted_colors).max(-1)[inside] < 0.01).mean() > 0.98
    assert head.data.uv_layers.active.name == "UVMap"


def test_what_the_camera_sees():
    """A small plate in front of a large one: its shadow, the turned back and what is off the picture are not seen."""
    x, y = np.meshgrid(np.linspace(-1, 1, 21), np.linspace(-1, 1, 21))
    plate = np.stack([x, y, np.zeros_like(x)], -1).reshape(-1, 3)
    index = np.arange(441).reshape(21, 21)
    quads = np.stack([index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]], -1).reshape(-1, 4)
    facing = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])  # towards -z, the camera
    points = np.concatenate([plate + [0, 0, 4], 0.3 * plate + [0, 0, 3]])
    faces = np.concatenate([facing, facing + 441])
    K = np.array([[10, 0, 5], [0, 10, 2.2], [0, 0, 1.0]])
    uvs = photo_projection.picture_uvs(points, K, 10, 10)
    np.testing.assert_allclose(uvs[220], [0.5, 0.78])
    seen, turned = photo_projection.seen(points, faces, uvs)
    behind, front = seen[:441].reshape(21, 21), seen[441:]
    assert front.min() > 0.99
    assert behind[10, 10] == 0 and behind[10, 7] == 0 and behind[10, 13] == 0, "hidden by the small plate"
    assert behind[10, 5] == 0 and behind[10, 15] == 0 and behind[10, 3] > 0.5, "beside the hidden"
    assert behind[18, 3] > 0.99 and behind[18, 17] > 0.99
    assert behind[0].max() == 0, "above the picture"
    assert turned[220] > 0.99, "turned to the camera, though hidden"
    assert np.max(photo_projection.seen(points, faces[:, ::-1], uvs)) == 0, "the back"


def test_photographs_of_one_person_share_a_head(scene, tmp_path):
    folders = [synthetic_fit.write_fit(tmp_path / name, seed=seed) for seed, name in enumerate(("front", "left", "up"))]
    heads, _ = fit_scene.bring_fits(bpy.context, [(folder, answer(folder)) for folder in folders])
    assert len({head.name for head in heads}) == 1 and fit_scene.fits_of(heads[0]) == folders
    assert [item.name for item in fit_scene.cameras_of(heads[0])] == ["front Camera", "left Camera", "up Camera"]
    assert scene.camera == fit_scene.cameras_of(heads[0])[0]
    for number, folder in enumerate(folders):
        fit_scene.look_through(scene, fit_scene.cameras_of(heads[0])[number])
        assert scene.frame_current == number + 1
        assert np.abs(positions(heads[0]) - wanted(folder)).max() < 1e-5
    assert [(mark.frame, mark.camera.name) for mark in scene.timeline_markers] == [
        (1, "front Camera"), (2, "left Camera"), (3, "up Camera"),
    ]  # fmt: skip
    assert {layer.name for layer in heads[0].data.uv_layers} >= {photo_material.layer_name(n) for n in (1, 2, 3)}


def test_different_people_stand_side_by_side(scene, tmp_path):
    heads = [bring(tmp_path / name, person_seed=seed) for seed, name in enumerate(("anna", "bert", "cleo"))]
    assert [head.users_collection[0].name for head in heads] == ["anna", "bert", "cleo"]
    places = [head.matrix_world.translation.x for head in heads]
    assert np.diff(places).min() > 0.3 and not scene.timeline_markers
    materials = {head.data.materials[0].name for head in heads}
    assert len(materials) == 3


def test_bringing_it_again_changes_nothing(scene, tmp_path):
    head = bring(tmp_path / "anna")
    counts = [len(getattr(bpy.data, kind)) for kind in ("objects", "meshes", "images", "cameras", "materials",
                                                        "node_groups", "collections", "actions")]  # fmt: skip
    before = positions(head)
    assert bring_again(tmp_path / "anna") == head
    assert counts == [len(getattr(bpy.data, kind)) for kind in ("objects", "meshes", "images", "cameras", "materials",
                                                                "node_groups", "collections", "actions")]  # fmt: skip
    np.testing.assert_array_equal(positions(head), before)
    assert len(scene.camera.data.background_images) == 1


def test_an_artists_work_stays_when_the_fit_is_made_anew(scene, tmp_path):
    head = bring(tmp_path / "anna")
    camera, nodes = scene.camera, head.data.materials[0].node_tree.nodes
    key(head, "identity nose_length").value = 2.75
    head.blendsplat.rig.pose.bones["jaw"].rotation_euler[0] = 0.9
    camera.location.x += 0.5
    moved = camera.location.copy()
    nodes["Scene Light"].outputs[0].default_value = 0.7
    head.shape_key_add(name="my own", from_mix=False)
    head.blendsplat.rig.location.z = 2.0
    bring(tmp_path / "anna", seed=2, person_seed=3)  # other numbers in the same folder
    fresh = synthetic_fit.read(tmp_path / "anna/tracking.npz")
    assert key(head, "identity nose_length").value == pytest.approx(2.75)
    assert head.blendsplat.rig.pose.bones["jaw"].rotation_euler[0] == pytest.approx(0.9)
    assert key(head, "identity ear_size").value == pytest.approx(fresh["shape"][2], abs=1e-6)
    assert key(head, "jawOpen").value == pytest.approx(fresh["expression"][0, 0], abs=1e-6)
    assert camera.location == moved and head.blendsplat.rig.location.z == 2.0
    assert nodes["Scene Light"].outputs[0].default_value == pytest.approx(0.7) and key(head, "my own")
    assert len([item for item in scene.objects if item.blendsplat.kind == "HEAD"]) == 1


def test_an_artists_materials_and_paint_stay(scene, tmp_path):
    head = bring(tmp_path / "anna", texture=True)
    material = head.data.materials[0]
    node = material.node_tree.nodes["Texture"]
    node.image.pixels[0:3] = (0.0, 0.0, 1.0)  # painted, not saved
    own = bpy.data.images.new("painted", 8, 8)
    material.diffuse_color = (1, 0, 0, 1)
    painted, node.image = node.image, own
    bring_again(tmp_path / "anna")
    assert painted.is_dirty and tuple(painted.pixels[0:3]) == (0.0, 0.0, 1.0)
    assert node.image == own and tuple(material.diffuse_color) == (1, 0, 0, 1)
    skin = bpy.data.materials.new("my skin")
    if skin.node_tree is None:
        skin.use_nodes = True
    skin.node_tree.nodes.new("ShaderNodeTexNoise").name = "pores"
    head.data.materials[0] = skin
    bring_again(tmp_path / "anna")
    assert head.data.materials[0] == skin and "pores" in skin.node_tree.nodes and len(skin.node_tree.nodes) == 3


def test_a_deleted_camera_comes_back_and_takes_nothing_with_it(scene, tmp_path):
    head = bring(tmp_path / "anna")
    bring(tmp_path / "left", seed=5)
    scene.frame_set(1)
    key(head, "jawOpen").value = 0.77
    key(head, "jawOpen").keyframe_insert("value", frame=1)
    bpy.data.objects.remove(fit_scene.cameras_of(head)[0])
    assert bring_again(tmp_path / "anna") == head
    assert fit_scene.fits_of(head) == [tmp_path / "anna", tmp_path / "left"]
    scene.frame_set(2)
    scene.frame_set(1)
    assert key(head, "jawOpen").value == pytest.approx(0.77, abs=1e-5)


def test_another_photograph_in_the_same_folder_is_another_head(scene, tmp_path):
    first = bring(tmp_path / "fit", image="C:\\bilder\\Anna.jpg")
    shown = positions(first)
    second = bring(tmp_path / "fit", image="/bilder/Bert.v2.png", person_seed=4)
    assert [first.name, second.name] == ["Anna Head", "Bert.v2 Head"]
    np.testing.assert_array_equal(positions(first), shown)


def test_an_artists_animation_stays(scene, tmp_path):
    head = bring(tmp_path / "anna")
    slider = key(head, "jawOpen")
    for frame, value in ((1, 0.1), (2, 0.2), (30, 0.8)):
        slider.value = value
        slider.keyframe_insert("value", frame=frame)
    bring_again(tmp_path / "anna")
    bring(tmp_path / "left", seed=5)  # the same person: other sliders are keyed, this one is the artist's
    for frame, value in ((1, 0.1), (2, 0.2), (30, 0.8)):
        scene.frame_set(frame)
        assert slider.value == pytest.approx(value, abs=1e-5)


def test_reset_gives_the_fit_back(scene, tmp_path):
    head = bring(tmp_path / "anna")
    key(head, "identity nose_length").value = -3
    key(head, "jawOpen").value = 0.01
    head.blendsplat.rig.pose.bones["neck"].rotation_euler[1] = 1.0
    fit_scene.reset_sliders(head)
    assert np.abs(positions(head) - wanted(tmp_path / "anna")).max() < 1e-6
    bring(tmp_path / "left", seed=5)
    scene.frame_set(2)
    key(head, "jawOpen").value = 0.01
    key(head, "jawOpen").keyframe_insert("value", frame=2)
    fit_scene.reset_sliders(head)
    scene.frame_set(1)
    scene.frame_set(2)
    assert np.abs(positions(head) - wanted(tmp_path / "left")).max() < 1e-5


def test_the_state_is_what_is_shown(scene, tmp_path):
    """What an export gets: the artist's sliders and bones as the engine's numbers."""
    head = bring(tmp_path / "anna")
    head.blendsplat.rig.location.x = 3.0  # where the rig stands is no part of it
    key(head, "identity ear_size").value = -1.7
    key(head, "jawOpen").value, key(head, "Eyelid L").value = 0.4, 0.3
    bones = head.blendsplat.rig.pose.bones
    bones["jaw"].rotation_euler, bones["eye.L"].rotation_euler = (0.3, 0.1, 0), (0.1, -0.4, 0)
    path = fit_scene.write_state(head, bpy.context.evaluated_depsgraph_get(), tmp_path / "state.npz")
    state = formats.read_performance(path)
    assert state.meta["head_source"] == "grid" and state.meta["width"] == 96
    shown = space.to_blender(synthetic_fit.vertices(state.arrays))
    assert np.abs(positions(head) - shown).max() < 2e-6
    assert not list(tmp_path.glob(".*part"))


def test_saved_and_opened_again(scene, tmp_path):
    before = positions(bring(tmp_path / "anna"))
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "Szene ü.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "Szene ü.blend"))
    head = next(item for item in bpy.context.scene.objects if item.blendsplat.kind == "HEAD")
    np.testing.assert_allclose(positions(head), before, atol=1e-7)
    assert bring_again(tmp_path / "anna") == head
    assert len(fit_scene.cameras_of(head)) == 1


def _delete(name: str):
    return lambda folder: (folder / name).unlink()


def _change(**changes):
    def spoil(folder: Path) -> None:
        path = folder / "fit.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (_delete("fit.json"), "holds no fitted photograph"),
        (_delete("photograph.jpg"), "is missing"),
        (_delete("tracking.npz"), "does not exist"),
        (_change(version=2), "newer Blendsplat"),
        (_change(format="other"), "is not a blendsplat-fit file"),
        (lambda folder: (folder / "fit.json").write_text("[1, 2"), "cannot be read"),
        (lambda folder: (folder / "fit.json").write_bytes(b"\xff\xfe\x00"), "cannot be read"),
        (lambda folder: (folder / "tracking.npz").write_bytes(b"PK"), "damaged"),
    ],
)
def test_bad_folders_leave_the_scene_alone(scene, tmp_path, spoil, sentence):
    folder = synthetic_fit.write_fit(tmp_path / "anna")
    spoil(folder)
    with pytest.raises(formats.FileError, match=sentence):
        fit_scene.bring_fit(bpy.context, folder, synthetic_fit.identity_head())
    assert not scene.objects and not bpy.data.meshes and not bpy.data.collections


def test_one_bad_folder_does_not_keep_the_others_out(scene, tmp_path):
    folders = [tmp_path / "absent", synthetic_fit.write_fit(tmp_path / "anna")]
    _, sentences = fit_scene.bring_fits(bpy.context, [(folder, answer(folder)) for folder in folders])
    assert len(sentences) == 1 and "absent" in sentences[0]
    assert [item for item in scene.objects if item.blendsplat.kind == "HEAD"]


def test_an_older_engine_is_named(scene, tmp_path):
    with pytest.raises(formats.FileError, match="older than the add-on"):
        fit_scene.bring_fit(bpy.context, synthetic_fit.write_fit(tmp_path / "anna"), synthetic.grid_head())
    assert not scene.objects


def test_a_performance_plays_on_a_fitted_head(scene, tmp_path):
    """A tracked clip drives the person of the photograph; expressions move the joints beside identity."""
    head = bring(tmp_path / "anna")
    performance = formats.read_performance(synthetic.write_performance(tmp_path / "tracking.npz"))
    head_rig.apply_performance(head, performance, 1, 25.0)
    shape = synthetic_fit.read(tmp_path / "anna/tracking.npz")["shape"].astype(float)
    rig = synthetic_fit.person(synthetic_fit.identity_head()[1], shape)
    for row in (0, 12):
        scene.frame_set(1 + row)
        want = space.to_blender(oracle.head_vertices(rig, performance.arrays, row))
        assert np.abs(positions(head) - want).max() < 1e-5
