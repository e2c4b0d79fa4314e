# SPDX-License-Identifier: Apache-2.0
"""PLY sequences, USD point clouds and animated heads: read back, they are what the scene shows."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path
from types import SimpleNamespace

import bpy
import numpy as np
import pytest
from blender_addon import formats
from blender_addon.exports import ExportError, splat_ply, splat_usd
from blender_addon.render import color, gather
from blender_addon.scene import avatar_rig
from blender_addon.ui.operators import export, frame_by_frame

import synthetic

FRAMES = (5, 9, 14)
for own in Path(bpy.utils.resource_path("LOCAL")).glob(
    "python/lib/python*/site-packages"
):  # a whole Blender has it on its path
    sys.path.append(str(own))


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    """A folder for a file that is built once."""
    return tmp_path_factory.mktemp("exports")


@pytest.fixture
def scene(scene, kept):
    """Ann, and Ben who stands beside her and is not seen from frame 10 on."""
    if not (kept / "two.blend").exists():
        build(scene, kept)
        bpy.ops.wm.save_as_mainfile(filepath=str(kept / "two.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(kept / "two.blend"))
    return bpy.context.scene


@pytest.fixture
def two(scene) -> list[bpy.types.Object]:
    return [bpy.data.objects["Ann Ä"], bpy.data.objects["Ben"]]


def build(scene: bpy.types.Scene, tmp_path: Path) -> None:
    made = []
    for name, seed in (("Ann Ä", 3), ("Ben", 4)):
        rig = synthetic.grid_head(seed=seed)
        file = synthetic.write_avatar(tmp_path / f"{name}.avatar.npz", 120 + seed, seed=seed, rig=rig)
        carrier = avatar_rig.build_avatar(bpy.context, formats.read_avatar(file), name)
        performance = formats.read_performance(synthetic.write_performance(tmp_path / f"{name}.npz", seed=seed))
        avatar_rig.apply_performance(carrier, performance, 1, 25.0)
        made.append(carrier)
    made[1].blendsplat.head.blendsplat.rig.location.x = 0.4
    for frame, hidden in ((1, False), (10, True)):
        made[1].hide_viewport = hidden
        made[1].keyframe_insert("hide_viewport", frame=frame)
    scene.render.fps, scene.frame_start, scene.frame_end = 25, 5, 14
    scene.frame_set(3)


def shown(frame: int) -> list[gather.Part]:
    bpy.context.scene.frame_set(frame)
    return gather.parts(bpy.context.evaluated_depsgraph_get())


def read_ply(path: Path) -> np.ndarray:
    header, _, body = path.read_bytes().partition(b"end_header\n")
    count = int(header.split(b"element vertex ")[1].split()[0])
    return np.frombuffer(body, "<f4").reshape(count, -1)


def test_a_ply_for_every_frame(scene, two, tmp_path):
    target = tmp_path / "out ü" / "shot.ply"
    target.parent.mkdir()
    assert bpy.ops.blendsplat.export_ply_sequence(filepath=str(target)) == {"FINISHED"}
    assert scene.frame_current == 3, "the artist's frame is another now"
    assert sorted(path.name for path in target.parent.iterdir()) == [f"shot_{n:04d}.ply" for n in range(5, 15)]
    for frame in FRAMES:
        g = gather.joined([part.gaussians for part in shown(frame)])
        have = read_ply(target.parent / f"shot_{frame:04d}.ply")
        np.testing.assert_allclose(have[:, :3], g.means, atol=1e-6)
        np.testing.assert_allclose(1 / (1 + np.exp(-have[:, 9])), g.opacities, atol=1e-5)
        np.testing.assert_allclose(np.exp(have[:, 10:13]), g.scales, rtol=1e-4)
    assert len(read_ply(target.parent / "shot_0009.ply")) > len(read_ply(target.parent / "shot_0010.ply"))


@pytest.mark.parametrize(
    ("name", "want"), [("a.ply", "a_0012.ply"), ("a_##.ply", "a_12.ply"), ("a.b ######.ply", "a.b 000012.ply")]
)
def test_names_of_frames(name, want):
    assert splat_ply.frame_path(Path("x") / name, 12) == Path("x") / want


def test_a_range_that_ends_before_it_begins(scene, two, tmp_path):
    with pytest.raises(RuntimeError, match="no frame from 8 to 6"):
        bpy.ops.blendsplat.export_ply_sequence(filepath=str(tmp_path / "a.ply"), frame_start=8, frame_end=6)


def test_one_at_a_time(two, monkeypatch):
    """Two exports in a window would take the frames from each other."""
    monkeypatch.setattr(frame_by_frame, "_running", "Export PLY Sequence")
    assert not bpy.ops.blendsplat.export_head_animation.poll()
    sentence = "Export PLY Sequence goes through the frames: wait for it, or press Esc."
    assert export.ExportHeadAnimation.reason(bpy.context) == sentence
    assert bpy.ops.blendsplat.export_ply.poll(), "a single frame disturbs nobody"


class InAWindow(frame_by_frame.FrameByFrame):
    """The mix-in in the middle of an export, with a window manager that only counts timers."""

    bl_label = "Export"

    def __init__(self, work) -> None:
        self._work, self._timer, self.said = work, object(), []
        self._scene, self._before = bpy.context.scene.session_uid, (3, 0.0)
        frame_by_frame._running = self.bl_label

    def report(self, _kind, sentence: str) -> None:
        self.said.append(sentence)

    def told(self) -> str:
        return "All written."

    def turn(self, event: str = "TIMER", scene: object = None) -> tuple[set[str], int]:
        """One event -> (what the operator returns, timers that were removed)."""
        removed = []
        context = SimpleNamespace(
            scene=scene or bpy.context.scene, workspace=SimpleNamespace(status_text_set=lambda text: None),
            window_manager=SimpleNamespace(event_timer_remove=removed.append),
        )  # fmt: skip
        return self.modal(context, SimpleNamespace(type=event)), len(removed)


def failing(error: Exception):
    yield 0.1
    raise error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ExportError("No avatar."), "No avatar."),
        (OSError(28, "No space left on device", "/out/a.ply"), "/out/a.ply could not be written: No space left"),
        (ReferenceError("StructRNA of type Object has been removed"), "Export was ended by an undo: export again."),
    ],
)
def test_an_export_in_a_window_ends_whatever_happens(two, error, said):
    bpy.context.scene.frame_set(9)
    export = InAWindow(failing(error))
    assert export.turn("MOUSEMOVE") == ({"PASS_THROUGH"}, 0)
    assert export.turn() == ({"CANCELLED"}, 1)
    assert export.said[0].startswith(said) and frame_by_frame._running == ""
    assert bpy.context.scene.frame_current == 3, "the artist's frame is another now"


def test_esc_another_scene_and_the_end(two):
    for event, scene in (("ESC", None), ("TIMER", SimpleNamespace(session_uid=-1))):
        assert InAWindow(iter_of(0.1, 0.2)).turn(event, scene) == ({"CANCELLED"}, 1)
        assert frame_by_frame._running == ""
    export = InAWindow(iter_of(0.5, 1.0))
    assert export.turn() == ({"RUNNING_MODAL"}, 0) and frame_by_frame._running
    assert export.turn() == ({"FINISHED"}, 1) and export.said == ["All written."]
    broken = InAWindow(failing(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        broken.turn()
    assert frame_by_frame._running == "", "no export can be started any more"


def iter_of(*fractions: float):
    yield from fractions


def test_nothing_to_see(scene, two, tmp_path):
    for carrier in two:
        carrier.hide_viewport = True
        carrier.animation_data_clear()
    before = set(tmp_path.iterdir())
    with pytest.raises(RuntimeError, match="No avatar is visible in frame 5"):
        bpy.ops.blendsplat.export_ply_sequence(filepath=str(tmp_path / "a.ply"))
    if not splat_usd.missing():
        with pytest.raises(RuntimeError, match="No avatar is visible"):
            bpy.ops.blendsplat.export_usd(filepath=str(tmp_path / "a.usdc"))
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("ending", ["usdc", "usda"])
def test_usd_holds_every_frame(scene, two, tmp_path, ending):
    if splat_usd.missing():
        pytest.skip("this Blender brings no USD library")
    from pxr import Usd, UsdGeom

    path = tmp_path / f"shot.{ending}"
    assert bpy.ops.blendsplat.export_usd(filepath=str(path)) == {"FINISHED"}
    stage = Usd.Stage.Open(str(path))
    assert (stage.GetStartTimeCode(), stage.GetEndTimeCode(), stage.GetTimeCodesPerSecond()) == (5, 14, 25)
    assert UsdGeom.GetStageUpAxis(stage) == "Z" and UsdGeom.GetStageMetersPerUnit(stage) == 1
    clouds = {
        prim.GetCustomDataByKey("blendsplat:avatar"): UsdGeom.Points(prim)
        for prim in stage.Traverse() if prim.IsA(UsdGeom.Points)
    }  # fmt: skip
    assert set(clouds) == {carrier.name for carrier in two}
    for frame in FRAMES:
        parts = {part.carrier.name: part.gaussians for part in shown(frame)}
        for name, points in clouds.items():
            assert (points.ComputeVisibility(frame) == "inherited") == (name in parts), (name, frame)
            if name in parts:
                compare(points, parts[name], frame)
    # what does not change is written at the first frame, and the last at which it is known
    api = UsdGeom.PrimvarsAPI(clouds["Ann Ä"])
    assert len(api.GetPrimvar("scale").GetAttr().GetTimeSamples()) == 1
    assert len(clouds["Ann Ä"].GetPointsAttr().GetTimeSamples()) == 10


def test_blender_reads_its_usd_back(scene, two, tmp_path):
    """As a point cloud with everything on it."""
    if splat_usd.missing():
        pytest.skip("this Blender brings no USD library")
    path = tmp_path / "shot.usdc"
    assert bpy.ops.blendsplat.export_usd(filepath=str(path)) == {"FINISHED"}
    before = set(bpy.data.objects)
    assert bpy.ops.wm.usd_import(filepath=str(path)) == {"FINISHED"}
    clouds = [item for item in set(bpy.data.objects) - before if item.type == "POINTCLOUD"]
    assert len(clouds) == 2
    (part,) = [part for part in shown(14) if part.carrier == two[0]]
    cloud = next(item for item in clouds if item.name.startswith("Ann"))
    points = cloud.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    places, quats = np.empty(3 * len(part.gaussians), np.float32), np.empty(4 * len(part.gaussians), np.float32)
    points.attributes["position"].data.foreach_get("vector", places)
    points.attributes["rotation"].data.foreach_get("value", quats)
    np.testing.assert_allclose(places.reshape(-1, 3), part.gaussians.means, atol=1e-6)
    want = part.gaussians.quats / np.linalg.norm(part.gaussians.quats, axis=1, keepdims=True)
    np.testing.assert_allclose(np.abs((quats.reshape(-1, 4) * want).sum(1)), 1.0, atol=1e-5)


def compare(points, g: gather.Gaussians, frame: int) -> None:
    from pxr import UsdGeom

    api = UsdGeom.PrimvarsAPI(points)

    def value(name: str) -> np.ndarray:
        return np.array(api.GetPrimvar(name).Get(frame))

    np.testing.assert_allclose(np.array(points.GetPointsAttr().Get(frame)), g.means, atol=1e-6)
    np.testing.assert_allclose(value("scale"), g.scales, rtol=1e-5)
    np.testing.assert_allclose(value("displayOpacity"), g.opacities, atol=1e-6)
    np.testing.assert_allclose(color.linear_to_srgb(value("displayColor")), g.colors, atol=1e-5)
    quats = np.array([[q.GetReal(), *q.GetImaginary()] for q in api.GetPrimvar("rotation").Get(frame)])
    want = g.quats / np.linalg.norm(g.quats, axis=1, keepdims=True)
    np.testing.assert_allclose(np.abs((quats * want).sum(1)), 1.0, atol=1e-5)
    low, high = np.array(points.GetExtentAttr().Get(frame))
    assert (low <= g.means.min(0) + 1e-6).all() and (high >= g.means.max(0) - 1e-6).all()


def test_a_failed_export_leaves_yesterdays_file(scene, two, tmp_path):
    if splat_usd.missing():
        pytest.skip("this Blender brings no USD library")
    wrong = tmp_path / "shot.xyz"
    wrong.write_text("yesterday")
    with pytest.raises(RuntimeError, match="could not be written"):
        bpy.ops.blendsplat.export_usd(filepath=str(wrong), frame_end=5)
    assert wrong.read_text() == "yesterday" and not list(tmp_path.glob(".*"))


class Glb:
    """As much of a GLB as it takes to play a skinned mesh with morph targets."""

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        magic, version, length = struct.unpack_from("<4sII", data)
        assert magic == b"glTF" and version == 2 and length == len(data)
        size, kind = struct.unpack_from("<I4s", data, 12)
        assert kind == b"JSON"
        self.tree = json.loads(data[20 : 20 + size])
        self.binary = data[20 + size + 8 :]

    def array(self, accessor: int) -> np.ndarray:
        told = self.tree["accessors"][accessor]
        width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}[told["type"]]
        dtype = {5121: "<u1", 5123: "<u2", 5125: "<u4", 5126: "<f4"}[told["componentType"]]
        values = np.zeros((told["count"], width), dtype)
        if "bufferView" in told:
            view = self.tree["bufferViews"][told["bufferView"]]
            begin = view.get("byteOffset", 0) + told.get("byteOffset", 0)
            values = np.frombuffer(self.binary, dtype, told["count"] * width, begin).reshape(-1, width).copy()
        if "sparse" in told:
            sparse = told["sparse"]
            parts = []
            for name, kind, columns in (
                ("indices", sparse["indices"].get("componentType"), 1),
                ("values", 5126, width),
            ):
                view = self.tree["bufferViews"][sparse[name]["bufferView"]]
                begin = view.get("byteOffset", 0) + sparse[name].get("byteOffset", 0)
                form = {5121: "<u1", 5123: "<u2", 5125: "<u4", 5126: "<f4"}[kind]
                parts.append(np.frombuffer(self.binary, form, sparse["count"] * columns, begin).reshape(-1, columns))
            values[parts[0][:, 0]] = parts[1]
        return values

    def at(self, seconds: float) -> dict[tuple[int, str], np.ndarray]:
        """What the animation says of (node, channel)."""
        (animation,) = self.tree["animations"]
        found = {}
        for channel in animation["channels"]:
            sampler = animation["samplers"][channel["sampler"]]
            times, values = self.array(sampler["input"])[:, 0], self.array(sampler["output"])
            values = values.reshape(len(times), -1)
            row = int(np.abs(times - seconds).argmin())
            found[channel["target"]["node"], channel["target"]["path"]] = values[row]
        return found

    def vertices(self, seconds: float) -> np.ndarray:
        """The skinned mesh in glTF's world (y up) [V,3]."""
        told = self.at(seconds)
        nodes = self.tree["nodes"]
        world: dict[int, np.ndarray] = {}

        def place(index: int, above: np.ndarray) -> None:
            node = nodes[index]
            t = told.get((index, "translation"), np.array(node.get("translation", [0, 0, 0])))
            x, y, z, w = told.get((index, "rotation"), np.array(node.get("rotation", [0, 0, 0, 1])))
            s = told.get((index, "scale"), np.array(node.get("scale", [1, 1, 1])))
            local = np.eye(4)
            local[:3, :3] = np.array([
                [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
            ]) * s  # fmt: skip
            local[:3, 3] = t
            world[index] = above @ local
            for child in node.get("children", ()):
                place(child, world[index])

        for root in self.tree["scenes"][self.tree.get("scene", 0)]["nodes"]:
            place(root, np.eye(4))
        (index,) = [i for i, node in enumerate(nodes) if "mesh" in node]
        (primitive,) = self.tree["meshes"][nodes[index]["mesh"]]["primitives"]
        points = self.array(primitive["attributes"]["POSITION"]).astype(float)
        for weight, target in zip(told[index, "weights"], primitive["targets"], strict=True):
            points += weight * self.array(target["POSITION"])
        skin = self.tree["skins"][nodes[index]["skin"]]
        inverse = self.array(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
        matrices = np.stack([world[joint] @ inverse[row] for row, joint in enumerate(skin["joints"])])
        out = np.zeros_like(points)
        for name in ("0", "1"):
            if f"JOINTS_{name}" in primitive["attributes"]:
                joints = self.array(primitive["attributes"][f"JOINTS_{name}"])
                weights = self.array(primitive["attributes"][f"WEIGHTS_{name}"]).astype(float)
                whole = np.pad(points, ((0, 0), (0, 1)), constant_values=1)
                moved = np.einsum("njab,nb->nja", matrices[joints][..., :3, :], whole)
                out += (weights[:, :, None] * moved).sum(1)
        return out


def test_a_heads_glb_plays_what_blender_plays(scene, two, tmp_path):
    """Morph targets, skeleton and correctives that drivers moved: every vertex in three frames."""
    ann = two[0]
    head = ann.blendsplat.head
    bpy.context.view_layer.objects.active = ann
    names = (head.name, head.blendsplat.rig.name)
    counts = [len(getattr(bpy.data, kind)) for kind in ("objects", "meshes", "actions", "scenes", "armatures")]
    path = tmp_path / "head ü.glb"
    assert bpy.ops.blendsplat.export_head_animation(filepath=str(path)) == {"FINISHED"}
    assert counts == [len(getattr(bpy.data, kind)) for kind in ("objects", "meshes", "actions", "scenes", "armatures")]
    assert (head.name, head.blendsplat.rig.name) == names and scene.frame_current == 3
    glb = Glb(path)
    (mesh,) = glb.tree["meshes"]
    targets = mesh["extras"]["targetNames"]
    assert {"jawOpen", "mouthSmileLeft", "Eyelid L", "corrective jaw 5"} <= set(targets)
    for frame in FRAMES:
        scene.frame_set(frame)
        evaluated = head.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
        want = np.empty(3 * len(evaluated.vertices), np.float32)
        evaluated.attributes["position"].data.foreach_get("vector", want)
        want = np.pad(want.reshape(-1, 3), ((0, 0), (0, 1)), constant_values=1) @ np.array(head.matrix_world).T
        want = want[:, [0, 2, 1]] * [1, 1, -1]  # glTF's y is up
        have = glb.vertices((frame - 5) / 25)  # it begins at 0 s
        nearest = np.linalg.norm(have[:, None] - want[None], axis=2).min(1)  # seams of the UV map double vertices
        assert nearest.max() < 1e-5, (frame, nearest.max())
        weights = glb.at((frame - 5) / 25)
        (values,) = [value for (_, name), value in weights.items() if name == "weights"]
        key = head.data.shape_keys.evaluated_get(bpy.context.evaluated_depsgraph_get()).key_blocks["jawOpen"]
        assert abs(values[targets.index("jawOpen")] - key.value) < 1e-5


def test_no_head_no_glb(scene):
    bpy.ops.wm.read_homefile(use_empty=True)
    assert not bpy.ops.blendsplat.export_head_animation.poll()
    assert not bpy.ops.blendsplat.export_usd.poll() and not bpy.ops.blendsplat.export_ply_sequence.poll()
