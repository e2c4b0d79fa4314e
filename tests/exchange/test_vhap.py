# SPDX-License-Identifier: Apache-2.0
"""VHAP's export: the skull stays at its pixels, the way there and back, and damage is told."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from blendsplat.errors import FormatError, InputError, VideoError
from blendsplat.exchange.registry import export_recording, import_recording
from blendsplat.heads.load import load_head, load_head_of
from blendsplat.heads.performance import Performance
from blendsplat.video import Clip
from flame_recordings import (
    FRAMES,
    HEIGHT,
    WIDTH,
    head_params,
    make_head,
    projected,
    tracked_pixels,
    write_vhap,
)
from make_pickles import flame_arrays, write_flame


@pytest.fixture
def vhap(tmp_path):
    """VHAP's export with a moving camera: (folder, parameters, viewmats)."""
    return write_vhap(tmp_path / "vhäp")


def test_vhap_the_skull_stays_at_its_pixels(vhap, head, tmp_path):
    folder, values, viewmats = vhap
    clip, tracking = import_recording(folder, tmp_path / "clip", head, fps=30)
    truth = projected(head(head_params(values), torch.as_tensor(values["static_offset"][0])), viewmats)
    np.testing.assert_allclose(tracked_pixels(tracking, head), truth, atol=1e-3)
    assert np.ptp(tracking.root_pose, axis=0).max() == 0  # the torso stands still
    assert (clip.frame_count, clip.width, clip.height, clip.fps) == (FRAMES, WIDTH, HEIGHT, 30)
    original = np.array(Image.open(folder / "images" / "00003_00.png"))
    np.testing.assert_array_equal(clip.image(3), original)
    np.testing.assert_array_equal(clip.matte(3), np.array(Image.open(folder / "fg_masks" / "00003_00.png")).max(-1))
    np.testing.assert_array_equal(Performance.load(clip.directory).neck_pose, tracking.neck_pose)
    assert json.loads((clip.directory / "camera.json").read_text())["width"] == WIDTH


def test_there_and_back(tmp_path):
    head = replace(make_head(5023), name="generic_model")  # what FLAME 2020's file is called
    folder, _, _ = write_vhap(tmp_path / "vhap", 5143)  # with VHAP's teeth, which other programs lack
    clip, tracking = import_recording(folder, tmp_path / "clip", head)
    export_recording("vhap", clip.directory, tmp_path / "export")
    with np.load(tmp_path / "export" / "flame_param" / "00002.npz") as archive:
        assert archive["eyes_pose"].shape == (1, 6) and archive["expr"].shape == (1, 7)
        assert archive["static_offset"].shape == (1, 5143, 3)
    names = ("transforms", "transforms_train", "transforms_test")
    indices = [json.loads((tmp_path / "export" / f"{name}.json").read_text()) for name in names]
    assert [len(index["frames"]) for index in indices] == [6, 4, 2]
    again, back = import_recording(tmp_path / "export", tmp_path / "again", head)
    np.testing.assert_allclose(tracked_pixels(back, head), tracked_pixels(tracking, head), atol=1e-3)
    np.testing.assert_array_equal(again.matte(1), clip.matte(1))
    with pytest.raises(InputError, match="not empty"):
        export_recording("vhap", clip.directory, tmp_path / "export")


def test_there_and_back_with_a_lens_that_zooms(tmp_path):
    head = replace(make_head(5023), name="generic_model")
    folder, _, _ = write_vhap(tmp_path / "vhap", 5023)
    clip, tracking = import_recording(folder, tmp_path / "clip", head)
    assert (tracking.zoom == 1).all()
    zoom = np.linspace(1, 1.4, FRAMES).astype(np.float32)
    replace(tracking, zoom=zoom).save(clip.directory / "tracking.npz")
    export_recording("vhap", clip.directory, tmp_path / "export")
    index = tmp_path / "export" / "transforms.json"
    frames = json.loads(index.read_text())["frames"]
    np.testing.assert_allclose([frame["fl_x"] for frame in frames], 80 * zoom, rtol=1e-6)
    np.testing.assert_allclose([frame["fl_y"] for frame in frames], 82 * zoom, rtol=1e-6)
    assert {frame["cx"] for frame in frames} == {31}
    _, back = import_recording(tmp_path / "export", tmp_path / "again", head)
    np.testing.assert_allclose(back.zoom, zoom, rtol=1e-6)
    np.testing.assert_allclose(back.K, tracking.K)
    for frame in frames:
        frame["cx"] += 3 * frame["timestep_index"]
    index.write_text(json.dumps({"frames": frames}))
    with pytest.raises(FormatError, match="principal point"):
        import_recording(tmp_path / "export", tmp_path / "moving", head)


@pytest.mark.parametrize("fps", [None, 12.0])
def test_there_and_back_keeps_time_teeth_and_lids(tmp_path, fps):
    head = make_head(5083)
    folder, _, _ = write_vhap(tmp_path / "vhap", 5143)
    clip, tracking = import_recording(folder, tmp_path / "clip", head, fps=30)
    assert not tracking.vertex_offsets[5023:].any()  # VHAP's teeth are others
    times = np.arange(FRAMES) / 30 + np.linspace(0, 0.01, FRAMES) ** 2  # a variable rate
    rng = np.random.default_rng(3)
    tracking.vertex_offsets = rng.normal(0, 0.002, (5083, 3)).astype(np.float32)
    tracking.eyelids = rng.random((FRAMES, 2)).astype(np.float32)
    tracking.timestamps = times
    tracking.save(clip.directory / "tracking.npz")
    export_recording("vhap", clip.directory, tmp_path / "export")
    again, back = import_recording(tmp_path / "export", tmp_path / "again", head, fps=fps)
    assert again.fps == (fps or 30)
    np.testing.assert_allclose(back.timestamps, np.arange(FRAMES) / fps if fps else times, atol=1e-12)
    np.testing.assert_allclose(again.timestamps, back.timestamps)
    np.testing.assert_array_equal(back.vertex_offsets, tracking.vertex_offsets)
    np.testing.assert_array_equal(back.eyelids, tracking.eyelids)
    np.testing.assert_allclose(tracked_pixels(back, head), tracked_pixels(tracking, head), atol=1e-3)
    with np.load(tmp_path / "export" / "flame_param" / "00002.npz") as archive:  # as VHAP's readers want it
        assert archive["static_offset"].shape == (1, 5143, 3) and not archive["static_offset"][0, 5023:].any()


def test_frames_that_were_left_out_leave_gaps(vhap, head, tmp_path):
    index = vhap[0] / "transforms.json"
    content = json.loads(index.read_text())
    content["frames"] = [frame for frame in content["frames"] if frame["timestep_index"] not in (0, 3)]
    index.write_text(json.dumps(content))
    clip, tracking = import_recording(vhap[0], tmp_path / "clip", head)
    np.testing.assert_allclose(tracking.timestamps, np.array([0, 1, 3, 4]) / 25)
    assert clip.fps == 25
    for frame in content["frames"]:
        frame["timestep_index"] = f"frame_{frame['timestep_index']}"  # names: counted through
    index.write_text(json.dumps(content))
    _, tracking = import_recording(vhap[0], tmp_path / "named", head, fps=10)
    np.testing.assert_allclose(tracking.timestamps, np.arange(4) / 10)


def test_times_that_cannot_be_are_told(vhap, head, tmp_path):
    index = vhap[0] / "transforms.json"
    good = json.loads(index.read_text())
    for fps, seconds in ((0, 0.1), (float("nan"), 0.1), (30, "late"), (30, float("nan")), (30, None), ("fast", 0.1)):
        frames = [
            {**frame, "blendsplat_seconds": 7.0 if seconds is None else seconds} if seconds != 0.1 else frame
            for frame in good["frames"]
        ]
        index.write_text(json.dumps({"frames": frames, "blendsplat_fps": fps}))
        with pytest.raises(FormatError, match="vh"):
            import_recording(vhap[0], tmp_path / "clip", head)
        assert not (tmp_path / "clip").exists()


def test_a_relative_head_is_found_from_another_folder(tmp_path, monkeypatch):
    write_flame(tmp_path / "flame.pkl", flame_arrays(identities=8, expressions=7))
    monkeypatch.chdir(tmp_path)
    head = load_head("flame.pkl", landmarks=False)
    folder, _, _ = write_vhap(tmp_path / "vhap", head.vertex_count)
    for name in (folder / "flame_param").iterdir():
        with np.load(name) as archive:
            values = dict(archive)
        values["shape"], values["expr"] = np.r_[values["shape"], values["expr"][0]], np.zeros((1, 1))
        np.savez(name, **values)
    import_recording(folder, tmp_path / "clip", "flame.pkl")
    monkeypatch.chdir(folder)
    assert Performance.load(tmp_path / "clip").head_source == str(tmp_path / "flame.pkl")
    assert load_head_of(Performance.load(tmp_path / "clip")).name == "flame"


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"text"], ids=["empty", "torn", "text"])
def test_damaged_parameters_are_named(vhap, head, tmp_path, content):
    folder, _, _ = vhap
    (folder / "flame_param" / "00003.npz").write_bytes(content)
    with pytest.raises(FormatError, match=r"00003\.npz"):
        import_recording(folder, tmp_path / "clip", head)
    assert not (tmp_path / "clip").exists()


def test_an_export_without_frames_says_so(vhap, head, tmp_path):
    (vhap[0] / "transforms.json").write_text('{"frames": []}')
    with pytest.raises(FormatError, match="names no frames"):
        import_recording(vhap[0], tmp_path / "clip", head)


def test_damage_is_told_and_nothing_is_left(vhap, head, tmp_path):
    folder, _, _ = vhap
    good = json.loads((folder / "transforms.json").read_text())

    def with_frame(**change):
        return {"frames": [{**frame, **change} for frame in good["frames"]]}

    bad = [
        {},
        {"frames": []},
        [],
        with_frame(fl_x="wide"),
        with_frame(transform_matrix=[[1]]),
        with_frame(flame_param_path="no.npz"),
        with_frame(fl_x=float("nan")),
        with_frame(transform_matrix=np.zeros((4, 4)).tolist()),
    ]
    for content in bad:
        (folder / "transforms.json").write_text(json.dumps(content))
        with pytest.raises(FormatError):
            import_recording(folder, tmp_path / "clip", head)
    (folder / "transforms.json").write_text(json.dumps(with_frame(file_path="images/missing.png")))
    with pytest.raises(VideoError, match=r"missing\.png"):
        import_recording(folder, tmp_path / "clip", head)
    assert not (tmp_path / "clip").exists()


def test_another_head_is_refused(vhap, head, tmp_path):
    folder, _, _ = vhap
    for other in (
        replace(
            head,
            expression_directions=head.expression_directions[:3],
            joint_expression_directions=head.joint_expression_directions[:3],
        ),
        replace(head, template=head.template[:20], shape_directions=head.shape_directions[:, :20]),
    ):
        with pytest.raises(InputError, match="FLAME it was made with"):
            import_recording(folder, tmp_path / "clip", other)
    clip, tracking = import_recording(folder, tmp_path / "clip", head)
    tracking.head, tracking.head_family = "flame_or_so", "builtin"
    tracking.save(clip.directory / "tracking.npz")
    with pytest.raises(InputError, match=r"flame_or_so.*builtin"):
        export_recording("vhap", clip.directory, tmp_path / "export")
    assert Clip.open(clip.directory).info.matte == "external"
