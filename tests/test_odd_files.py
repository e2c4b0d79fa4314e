# SPDX-License-Identifier: Apache-2.0
"""Files that the campaign (tests/support/soak) found to be too much for a reader: each is refused in one sentence."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blendsplat.batch.clips import imported_from
from blendsplat.batch.record import Record
from blendsplat.errors import BlendsplatError, FormatError, InputError
from blendsplat.evaluation.scans import mesh_of, read_landmarks
from blendsplat.exchange.captures import is_capture, read_capture
from blendsplat.exchange.live_link import is_live_link
from blendsplat.exchange.registry import format_of
from blendsplat.files import read_json, read_npz, write_npz
from blendsplat.heads.foreign_files import load_npy, load_pickle
from blendsplat.heads.load import load_head
from blendsplat.heads.obj import read_obj
from blendsplat.heads.performance import Performance
from blendsplat.heads.torch_files import load_torch
from blendsplat.kaolrm.config import read_config
from blendsplat.kaolrm.training.presets import load_preset as load_kaolrm_preset
from blendsplat.kaolrm.weights import load_model, save_model
from blendsplat.landmarks.detector import load_landmarks
from blendsplat.photographs.convert_fit import fit_description
from blendsplat.photographs.photograph import read_photograph
from blendsplat.systems import load_preset
from blendsplat.video.clip import Clip
from blendsplat.video.images import open_source, read_image
from tiny_clip import tiny_head, tiny_tracking
from tiny_kaolrm import tiny

DEEP = "[" * 100_000 + "]" * 100_000
META = {"format": "test", "version": 1}
CLIP: dict[str, Any] = {
    "format": "blendsplat-clip", "version": 1, "source": "a.mp4", "source_size": [64, 48], "trim_start": 0.0,
    "trim_end": None, "crop": [0, 0, 48], "width": 32, "height": 32, "fps": 25.0, "timestamps": [0.0, 0.04],
    "matte": "none",
}  # fmt: skip


def refused(act: Callable[[], Any], kind: type[BlendsplatError] = InputError) -> str:
    """The sentence with which ``act`` is refused."""
    with pytest.raises(kind) as told:
        act()
    assert "\n" not in told.value.sentence and len(told.value.sentence) <= 1500
    return told.value.sentence


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("a.npz", lambda path: read_npz(path, "test", 1)), ("clip.json", lambda path: Clip.open(path.parent)),
        ("a.npy", load_npy), ("a.pkl", load_pickle), ("a.frame", load_torch), ("a.obj", read_obj),
        ("points.txt", read_landmarks), ("a.png", read_photograph), ("fit.json", fit_description),
        ("config.json", read_config), ("take.csv", read_capture), ("take.json", read_capture),
        ("own.toml", load_preset), ("a.mp4", open_source),
    ],
)  # fmt: skip
def test_a_pipe_is_no_file_and_nobody_waits_for_it(tmp_path: Path, name: str, read: Callable[[Path], Any]) -> None:
    os.mkfifo(tmp_path / name)
    refused(lambda: read(tmp_path / name))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_who_only_looks_does_not_wait_either(tmp_path: Path) -> None:
    for name in ("take.csv", "clip.json", "record.json", "a.png"):
        os.mkfifo(tmp_path / name)
    assert not is_live_link(tmp_path / "take.csv") and not is_capture(tmp_path / "take.csv")
    assert imported_from(tmp_path) is None and Record(tmp_path / "record.json").stages == {}
    assert read_image(tmp_path / "a.png") is None


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("clip.json", lambda path: Clip.open(path.parent)), ("fit.json", fit_description), ("config.json", read_config),
        ("take.json", read_capture), ("points.json", read_landmarks),
        ("transforms.json", lambda path: format_of(path.parent).read(path.parent)),
    ],
)  # fmt: skip
def test_json_deeper_than_any_reader(tmp_path: Path, name: str, read: Callable[[Path], Any]) -> None:
    (tmp_path / name).write_text(DEEP)
    refused(lambda: read(tmp_path / name), FormatError)


def test_what_only_helps_is_left_out_when_it_is_nested_too_deeply(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text(DEEP)
    (tmp_path / "clip.json").write_text(DEEP)
    assert Record(tmp_path / "record.json").stages == {} and imported_from(tmp_path) is None


@pytest.mark.parametrize("text", [f"images = {DEEP}", "method = {a = 1}", "images = \x00"])
def test_presets_that_are_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text)
    for load in (load_preset, load_kaolrm_preset):
        assert refused(lambda load=load: load(path)).endswith(".")


def test_an_archive_that_would_fill_the_memory(tmp_path: Path) -> None:
    """200 MiB of zeros in 0.2: refused by what the archive says, before anything is unpacked."""
    for name, member in (("a.npz", "x.npy"), ("a.frame", "archive/data/0")):
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            with archive.open(member, "w") as file:
                for _ in range(200):
                    file.write(bytes(2**20))
            archive.writestr("archive/data.pkl", b"\x80\x02N.")
    assert "would unpack to 200 MiB" in refused(lambda: read_npz(tmp_path / "a.npz", "test", 1))
    assert "would unpack to" in refused(lambda: load_torch(tmp_path / "a.frame"))


def test_members_that_are_no_arrays_and_numbers_that_nobody_knows(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    write_npz(path, META, {})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("positions.npy", b"text")
    refused(lambda: read_npz(path, "test", 1), FormatError)
    write_npz(path, META, {"a": np.zeros(3, np.longdouble)})
    refused(lambda: read_npz(path, "test", 1), FormatError)


@pytest.mark.parametrize(
    "changed",
    [
        {"fps": float("nan")}, {"width": float("inf")}, {"width": 10**9, "height": 10**9}, {"shots": 3},
        {"shots": ["a"]}, {"repeats": [7]}, {"faded": ["a"]}, {"notes": [3]}, {"notes": "abc"},
        {"source": None}, {"matte": []},
        {"trim_start": "x"},
        {"timestamps": "01"}, {"timestamps": [0.0, float("nan")]}, {"version": True}, {"crop": [0, 0, 10**400]},
    ],
)  # fmt: skip
def test_a_clip_whose_description_makes_no_sense(tmp_path: Path, changed: dict[str, Any]) -> None:
    (tmp_path / "clip.json").write_text(json.dumps(CLIP))
    assert Clip.open(tmp_path).frame_count == 2
    (tmp_path / "clip.json").write_text(json.dumps(CLIP | changed))
    refused(lambda: Clip.open(tmp_path), FormatError)


def test_a_clip_s_picture_of_another_size_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clip.json").write_text(json.dumps(CLIP))
    (tmp_path / "images").mkdir()
    from blendsplat.video.clip import encode_png

    picture = bytearray(encode_png(np.zeros((32, 32, 3), np.uint8)))
    (tmp_path / "images" / "000000.png").write_bytes(picture)
    assert Clip.open(tmp_path).image(0).shape == (32, 32, 3)
    (tmp_path / "images" / "000000.png").write_bytes(encode_png(np.zeros((32, 3000, 3), np.uint8)))
    monkeypatch.setattr("cv2.imdecode", lambda *_: pytest.fail("it was decoded"))
    refused(lambda: Clip.open(tmp_path).image(0), FormatError)


def test_landmarks_that_are_no_numbers(tmp_path: Path) -> None:
    meta, points = {"format": "blendsplat-landmarks", "version": 1}, np.zeros((2, 478, 3), np.float32)
    for odd in (points.astype(np.int64), points.astype(np.complex64)):
        write_npz(tmp_path / "landmarks.npz", meta, {"points": odd, "found": np.ones(2, bool)})
        refused(lambda: load_landmarks(tmp_path), FormatError)
    write_npz(tmp_path / "landmarks.npz", meta, {"points": points, "found": np.zeros((), bool)})
    refused(lambda: load_landmarks(tmp_path), FormatError)
    write_npz(tmp_path / "landmarks.npz", meta, {"points": points.astype(np.float64), "found": np.ones(2, np.int8)})
    read, found = load_landmarks(tmp_path)
    assert read.dtype == np.float32 and found.dtype == bool
    points[1, 7] = np.nan  # as a live take of a face that diverged has
    write_npz(tmp_path / "landmarks.npz", meta, {"points": points, "found": np.ones(2, bool)})
    read, found = load_landmarks(tmp_path)
    assert found.tolist() == [True, False] and np.isfinite(read).all()


def test_a_number_too_large_for_any_float(tmp_path: Path) -> None:
    frames = [{"jawOpen": 0.1, "eyeBlinkLeft": 0, "eyeBlinkRight": 0, "browInnerUp": 0, "mouthClose": 10**400}]
    (tmp_path / "take.json").write_text(json.dumps({"fps": 30, "frames": frames}))
    assert "take.json is damaged" in refused(lambda: read_capture(tmp_path / "take.json"), FormatError)


def test_scans_that_are_none(tmp_path: Path) -> None:
    class Mesh:
        vertices, faces = np.random.default_rng(0).normal(size=(120, 3)), np.array([[0, 1, 120]])

    assert "vertices which it does not have" in refused(lambda: mesh_of(Mesh, Path("a.glb")), FormatError)
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (7, 3"
    (tmp_path / "points.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    refused(lambda: read_landmarks(tmp_path / "points.npy"), FormatError)


def test_what_a_sentence_quotes_can_be_shown_anywhere() -> None:
    error = InputError("The file 'a\nb\x00\udcff' holds " + "x" * 5000 + ", which is no number; export it again.")
    assert error.sentence == str(error) and error.sentence.isprintable() and len(error.sentence) < 1100
    assert error.sentence.startswith("The file 'a b \\udcff' holds x") and error.sentence.endswith("export it again.")
    assert InputError("a  b, ü 影").sentence == "a  b, ü 影", "names are as they are"


def test_lists_that_hold_each_other_over_and_over(tmp_path: Path) -> None:
    """Forty lists, each of the one before twice: whoever walks over all of it walks for ever."""
    value: list[Any] = []
    for _ in range(40):
        value = [value, value]
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"face": value}))
    refused(lambda: load_pickle(tmp_path / "a.pkl"), FormatError)


def test_a_capture_whose_rate_gives_no_times(tmp_path: Path) -> None:
    frames = [{"jawOpen": 0.1, "eyeBlinkLeft": 0, "eyeBlinkRight": 0, "browInnerUp": 0, "mouthClose": 0}] * 3
    (tmp_path / "take.json").write_text(json.dumps({"fps": 1e-320, "frames": frames}))
    refused(lambda: read_capture(tmp_path / "take.json"), FormatError)


def test_a_configuration_larger_than_its_weights_is_not_built(tmp_path: Path) -> None:
    save_model(tmp_path, tiny())
    told = json.loads((tmp_path / "config.json").read_text())
    for changed in ({"flame_widths": [65536, 65536, 65536]}, {"transformer_layers": 60_000}):
        (tmp_path / "config.json").write_text(json.dumps(told | changed))
        refused(lambda: load_model(tmp_path), FormatError)


def test_a_whole_number_in_any_json_is_one_that_a_float_can_hold(tmp_path: Path) -> None:
    path = tmp_path / "transforms.json"
    path.write_text("[" + "9" * 400 + "]")
    with pytest.raises(ValueError, match="400 digits"):
        read_json(path)
    path.write_text("[123456789012345678901234567890]")
    assert read_json(path) == [123456789012345678901234567890]


def test_a_packed_head_whose_arrays_are_none(tmp_path: Path) -> None:
    arrays = {name: np.zeros((2, 3)) for name in ("v", "vt", "f", "ft", "expr_names", "expr_delta", "id_delta")}
    for name in ("v", "expr_names", "id_delta"):
        np.savez(tmp_path / "ict.npz", **(arrays | {name: np.float32(1.0)}))
        assert "no lists of numbers" in refused(lambda: load_head(tmp_path / "ict.npz"), FormatError)


def test_the_end_of_another_archive(tmp_path: Path) -> None:
    path = tmp_path / "a.frame"
    end = b"PK\x06\x07" + bytes([1, 0, 0, 0]) + bytes(8) + bytes([9, 0, 0, 0])  # of many disks
    path.write_bytes(bytes(100) + end + b"PK\x05\x06" + bytes(18))
    refused(lambda: load_torch(path), FormatError)


@pytest.mark.parametrize("names", ["abc", [1, 2, 3], [["a"], "b", "c"]])
def test_a_tracking_whose_names_are_no_words(tmp_path: Path, names: Any) -> None:
    tiny_tracking(tiny_head(), 2).save(tmp_path / "tracking.npz")
    with np.load(tmp_path / "tracking.npz") as archive:
        arrays = {name: archive[name] for name in archive.files}
    meta = json.loads(arrays.pop("meta").tobytes())
    write_npz(tmp_path / "tracking.npz", meta | {"expression_names": names}, arrays)
    assert "no sense" in refused(lambda: Performance.load(tmp_path), FormatError)
