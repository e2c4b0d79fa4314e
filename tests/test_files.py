# SPDX-License-Identifier: Apache-2.0
"""Nothing half-written: failing writers leave the old file and no litter; damaged files are refused in a sentence."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import blendsplat.files
from blendsplat.errors import FormatError, StorageError
from blendsplat.files import _umask, atomic_path, read_npz, save_arrays, write_bytes, write_npz
from blendsplat.heads.performance import Performance

META = {"format": "test", "version": 2, "name": "тест ü"}


def test_round_trip_in_an_awkward_folder(tmp_path):
    path = tmp_path / "мой folder" / "file ü.npz"
    write_npz(path, META, {"a": np.arange(6.0).reshape(2, 3), "none": np.zeros((0, 3), np.float32)})
    meta, arrays = read_npz(path, "test", 2)
    assert meta == META and arrays["none"].shape == (0, 3)
    np.testing.assert_array_equal(arrays["a"], np.arange(6.0).reshape(2, 3))


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), ValueError("a bug")])
def test_a_failed_write_leaves_what_was_there(tmp_path, error):
    path = tmp_path / "file.bin"
    write_bytes(path, b"yesterday")
    with pytest.raises(StorageError if isinstance(error, OSError) else ValueError), atomic_path(path) as temporary:
        temporary.write_bytes(b"half")
        raise error
    assert path.read_bytes() == b"yesterday"
    assert list(tmp_path.iterdir()) == [path]


def test_the_disk_s_answer_is_in_the_sentence(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StorageError, match="Could not write"):
        write_bytes(tmp_path / "file" / "inside.bin", b"")


def test_refusals_name_the_way_out(tmp_path):
    path = tmp_path / "a.npz"
    with pytest.raises(FormatError, match="does not exist"):
        read_npz(path, "test", 2)
    write_npz(path, META, {})
    with pytest.raises(FormatError, match="update Blendsplat"):
        read_npz(path, "test", 1)
    with pytest.raises(FormatError, match="is no other file"):
        read_npz(path, "other", 2)


def test_every_truncation_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    write_npz(path, META, {"a": np.arange(50)})
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(FormatError):
            read_npz(path, "test", 2)


def test_a_pickle_inside_is_not_loaded(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, meta=np.frombuffer(b'{"format": "test", "version": 1}', np.uint8), bad=np.array([{}], dtype=object))
    with pytest.raises(FormatError):
        read_npz(path, "test", 2)


@pytest.fixture
def tracking() -> Performance:
    frames = 3
    return Performance(
        head="human", head_source="human", width=64, height=64, timestamps=np.arange(frames) / 25.0,
        valid=np.ones(frames, bool), shape=np.zeros(4, np.float32), vertex_offsets=np.zeros((10, 3), np.float32),
        expression=np.zeros((frames, 5), np.float32), root_pose=np.zeros((frames, 3), np.float32),
        neck_pose=np.arange(9, dtype=np.float32).reshape(3, 3), jaw_pose=np.zeros((frames, 3), np.float32),
        eyes_pose=np.zeros((frames, 2, 3), np.float32), eyelids=np.zeros((frames, 2), np.float32),
        translation=np.zeros((frames, 3), np.float32), K=np.eye(3, dtype=np.float32),
        viewmat=np.eye(4, dtype=np.float32),
        expression_names=tuple("abcde"), figures={"jitter_px": 0.5},
    )  # fmt: skip


def test_tracking_round_trip_and_selection(tracking, tmp_path):
    tracking.save(tmp_path / "tracking.npz")
    again = Performance.load(tmp_path)
    assert again.expression_names == tracking.expression_names and again.figures == {"jitter_px": 0.5}
    np.testing.assert_array_equal(again.neck_pose, tracking.neck_pose)
    part = again.select([2, 0])
    np.testing.assert_array_equal(part.neck_pose, tracking.neck_pose[[2, 0]])
    assert part.params().batch == 2 and part.shape.shape == (4,)


@pytest.mark.parametrize(
    "name, value",
    [
        ("neck_pose", np.zeros((2, 3))),
        ("translation", np.full((3, 3), np.nan)),
        ("jaw_pose", np.full((3, 3), "x")),
        ("timestamps", np.array(0.5)),
    ],
)
def test_tracking_with_a_wrong_array_is_refused(tracking, tmp_path, name, value):
    setattr(tracking, name, value)
    tracking.save(tmp_path / "tracking.npz")
    with pytest.raises(FormatError, match=name):
        Performance.load(tmp_path)


@pytest.mark.parametrize(
    "name, value",
    [("width", "wide"), ("height", None), ("width", 0), ("figures", 3), ("expression_names", 3), ("notes", 3)],
)
def test_tracking_with_a_wrong_header_is_refused(tracking, tmp_path, name, value):
    tracking.save(tmp_path / "tracking.npz")
    meta, arrays = read_npz(tmp_path / "tracking.npz", "blendsplat-tracking", 1)
    write_npz(tmp_path / "tracking.npz", meta | {name: value}, arrays)
    with pytest.raises(FormatError, match="track the clip again"):
        Performance.load(tmp_path)


def test_tracking_without_frames_is_refused(tracking, tmp_path):
    tracking.select([]).save(tmp_path / "tracking.npz")
    with pytest.raises(FormatError, match="no frame"):
        Performance.load(tmp_path)


def test_tracking_of_another_byte_order_opens(tracking, tmp_path):
    tracking.neck_pose, tracking.valid = tracking.neck_pose.astype(">f8"), np.array([1, 0, 1], np.uint8)
    tracking.save(tmp_path / "tracking.npz")
    again = Performance.load(tmp_path)
    np.testing.assert_array_equal(again.params().neck_pose.numpy(), tracking.neck_pose)
    assert again.valid.tolist() == [True, False, True]


def test_threads_that_write_at_once_leave_the_mask_of_new_files_alone(monkeypatch):
    """Two jobs that end together: the second must not take the first's momentary mask for the process's own."""
    real, mask = os.umask, os.umask(0o027)

    def slow(value):
        before = real(value)
        time.sleep(0.01)
        return before

    try:
        monkeypatch.setattr(os, "umask", slow)
        with ThreadPoolExecutor(8) as pool:
            masks = list(pool.map(lambda _: _umask(), range(16)))
        assert set(masks) == {0o027} and real(0o027) == 0o027
    finally:
        real(mask)


def _dead_writer(path: str) -> None:
    """In a process of its own: dies in the middle of a file."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"half")
        os._exit(0)


def test_what_a_killed_writer_left_goes_with_the_next_and_what_a_living_one_writes_stays(tmp_path, monkeypatch):
    path = tmp_path / "a.avatar.npz"
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_files as t; "
    subprocess.run([sys.executable, "-c", code + f"t._dead_writer({str(path)!r})"], check=True)
    (left,) = tmp_path.iterdir()
    own = tmp_path / ".a.avatar.holiday1.npz"  # somebody's own
    own.write_bytes(b"mine")
    with atomic_path(tmp_path / "b.npz") as living:
        assert not left.exists() and own.exists()
        monkeypatch.setattr(blendsplat.files, "_swept", set())  # as in another process
        write_bytes(path, b"whole")
        assert living.exists()
        living.write_bytes(b"b")
    assert {file.name for file in tmp_path.iterdir()} == {"a.avatar.npz", "b.npz", own.name}


def test_a_disk_that_turns_read_only_while_writing_is_one_sentence(tmp_path, monkeypatch):
    """Then the temporary file cannot be removed either."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(StorageError, match=r"Read-only file system. Choose a folder that you may write to"):
        write_bytes(tmp_path / "a.npz", b"x")


def test_a_full_disk_says_nothing_beside_its_sentence(tmp_path):
    """numpy's savez leaves an open archive behind, which says so on the user's screen when it is collected."""
    code = (
        "import resource, signal, sys; from blendsplat.files import write_npz; import numpy as np\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
        "for compress in (False, True):\n"
        "    try: write_npz(sys.argv[1], {}, {'a': np.random.default_rng(0).random(60_000)}, compress=compress)\n"
        "    except Exception as error: print(type(error).__name__)\n"
    )
    pytest.importorskip("resource")
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.npz")], capture_output=True, text=True)
    assert done.stdout.split() == ["StorageError"] * 2 and done.stderr == ""


def test_arrays_are_those_that_numpy_s_own_writer_would_write(tmp_path):
    arrays = {
        "a": np.arange(6.0).reshape(2, 3).T,
        "b": np.array("text"),
        "c": np.zeros((0, 3), ">f4"),
        "d": np.array(1),
    }
    for compress in (False, True):
        save_arrays(tmp_path / "a.npz", arrays, compress)
        with np.load(tmp_path / "a.npz", allow_pickle=False) as read:
            assert read.files == list(arrays)
            for name, array in arrays.items():
                assert read[name].dtype == array.dtype
                np.testing.assert_array_equal(read[name], array)
