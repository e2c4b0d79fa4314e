# SPDX-License-Identifier: Apache-2.0
"""Foreign pickles: what they hold comes out right, and nothing they ask for is ever run."""

from __future__ import annotations

import collections
import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from blendsplat.errors import BlendsplatError, FormatError, InputError, UnsafeFileError
from blendsplat.heads.foreign_files import load_npy, load_pickle
from blendsplat.heads.torch_files import load_torch
from make_pickles import OLD_NAMES, dump, fake_chumpy


@pytest.fixture
def write(tmp_path: Path):
    def put(data: bytes, name: str = "head model ü.pkl") -> Path:
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return put


CONTENT = {
    "f4": np.arange(12, dtype=np.float32).reshape(3, 4),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big": np.arange(5, dtype=">i4"),
    "empty": np.zeros((0, 3)),
    "text": np.array(["ab", "ü"]),
    "flag": np.array([True, False]),
    "scalar": np.float64(2.5),
    "objects": np.array([{"a": 1}, None, "x"], dtype=object),
    "csc": sp.csc_matrix(np.eye(4) * 3),
    "csr": sp.csr_matrix(np.arange(6).reshape(2, 3)),
    "plain": [1, 2.5, "text", (None, True), b"bytes", {3, 4}],
    "ordered": collections.OrderedDict([("a", np.ones(2))]),
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("old", [False, True])
def test_content_comes_out(write, protocol: int, old: bool) -> None:
    path = write(dump(CONTENT, protocol, OLD_NAMES if old and protocol < 4 else None))
    have = load_pickle(path)
    assert set(have) == set(CONTENT)
    for name in ("f4", "fortran", "big", "empty", "text", "flag"):
        np.testing.assert_array_equal(have[name], CONTENT[name])
        assert have[name].dtype == CONTENT[name].dtype.newbyteorder("=") and have[name].flags.writeable
    assert have["scalar"] == 2.5 and have["objects"][0] == {"a": 1} and have["objects"][2] == "x"
    for name in ("csc", "csr"):
        assert have[name].format == name
        np.testing.assert_array_equal(have[name].toarray(), CONTENT[name].toarray())
    assert have["plain"] == [1, 2.5, "text", (None, True), b"bytes", [3, 4]]
    np.testing.assert_array_equal(have["ordered"]["a"], np.ones(2))


def test_python2_strings_are_bytes(write) -> None:
    """What Python 2 wrote: array content as a byte string, U codes, which arrive as latin1 text."""
    body = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U\x10" + np.array([1.5, -2.0]).tobytes() + b"tb."
    )
    np.testing.assert_array_equal(load_pickle(write(body)), [1.5, -2.0])


@pytest.mark.parametrize("protocol", range(5))
def test_chumpy_without_chumpy(write, protocol: int) -> None:
    array = np.random.default_rng(0).normal(size=(4, 3, 2))
    with fake_chumpy() as fake:
        data = dump({"a": fake.wrap(array), "b": fake.select(array, np.array([5, 1, 2, 3]), (2, 2))}, protocol)
    have = load_pickle(write(data))
    np.testing.assert_array_equal(have["a"], array)
    np.testing.assert_array_equal(have["b"], array.ravel()[[5, 1, 2, 3]].reshape(2, 2))


class Runs:
    """Reduces to a call."""

    def __init__(self, function, *args) -> None:
        self.reduced = (function, args)

    def __reduce__(self):
        return self.reduced


def hostile(flag: Path) -> dict[str, bytes]:
    command = f"import pathlib; pathlib.Path({str(flag)!r}).write_text('ran')"
    run = Runs(exec, command)
    in_array = np.empty(1, dtype=object)
    in_array[0] = run
    shell = f"touch '{flag}'"
    return {
        "exec": pickle.dumps(run),
        "os.system": pickle.dumps(Runs(os.system, shell)),
        "eval": pickle.dumps({"v_template": Runs(eval, "1+1")}, 2),
        "object array": pickle.dumps(in_array),
        "in the arguments of an allowed call": pickle.dumps(Runs(np.dtype, run)),
        "nested": pickle.dumps(Runs(Runs, Runs(os.system, shell)).reduced[1]),
        "getattr chain": b"cbuiltins\ngetattr\n(cnumpy\nndarray\nX\x07\x00\x00\x00tofiletR.",
        "numpy's own loader": b"cnumpy\nload\n(X\x05\x00\x00\x00/etc/tR.",
        "attribute of a module": b"\x80\x04\x8c\x05numpy\x8c\x09os.system\x93.",
        "instance opcode": b"(S'" + shell.encode().replace(b"'", b"\\'") + b"'\nios\nsystem\n.",
        "extension": b"\x80\x02cposix\nsystem\nX\x01\x00\x00\x00x\x85R.",
        "persistent": b"\x80\x02cos\nsystem\nQ.",
    }


@pytest.mark.parametrize("name", list(hostile(Path("x"))))
def test_nothing_is_run(write, tmp_path: Path, name: str) -> None:
    flag = tmp_path / "flag"
    path = write(hostile(flag)[name])
    for reader in (load_pickle, load_torch):
        with pytest.raises(UnsafeFileError if reader is load_pickle else InputError) as caught:
            reader(path)
        assert "ü.pkl" in caught.value.sentence
    assert not flag.exists()


def test_the_foreign_name_is_named(write) -> None:
    with pytest.raises(UnsafeFileError, match=r"(posix|nt)\.system"):
        load_pickle(write(pickle.dumps(Runs(os.system, "true"))))


MISUSE = {
    "stand-ins cannot be changed": b"\x80\x02cnumpy\ndtype\nN}X\x0c\x00\x00\x00__defaults__K\x01\x85s\x86b.",
    "a class is no data": b"\x80\x02cscipy.sparse.csc\ncsc_matrix\n.",
    "an array of a foreign class": b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n"
    b"cnumpy\ndtype\nK\x00\x85X\x01\x00\x00\x00b\x87R.",
    "ndarray is not called": b"\x80\x02cnumpy\nndarray\nJ\xff\xff\xff\x7f\x85R.",
    "a structured type": b"\x80\x02cnumpy\ndtype\nX\x05\x00\x00\x00f8,f8\x85R.",
    "a number where bytes should be": b"\x80\x02cnumpy.core.multiarray\nscalar\n"
    b"cnumpy\ndtype\nX\x02\x00\x00\x00f8\x85RJ\xff\xff\xff\x7f\x86R.",
    "a reference to outside": b"\x80\x02X\x01\x00\x00\x00xQ.",
    "content within itself": b"\x80\x02]q\x00h\x00a.",
    "a memory of two thousand million places": b"\x80\x02]r\xff\xff\xff\x0f.",
    "the same in the oldest protocol": b"(lp268435455\n.",
    "a byte array that is announced and not there": b"\x80\x05\x96\x00\x00\x00\x00\x01\x00\x00\x00.",
    "no content": b"",
    "garbage": b"\x00\x01garbage",
    "not a pickle": b"PK\x03\x04 nothing",
}


@pytest.mark.parametrize("name", list(MISUSE))
def test_misuse_is_damage(write, name: str) -> None:
    with pytest.raises(FormatError, match=r"ü\.pkl"):
        load_pickle(write(MISUSE[name]))


def test_sizes_must_agree(write) -> None:
    data = pickle.dumps(np.arange(4.0), 2)
    assert data.count(b"K\x04\x85") == 1
    with pytest.raises(FormatError):
        load_pickle(write(data.replace(b"K\x04\x85", b"K\x64\x85")))
    matrix = sp.csc_matrix(np.eye(3))
    matrix.indices[0] = 99
    with pytest.raises(FormatError):
        load_pickle(write(pickle.dumps(matrix)))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_files_raise_our_errors(tmp_path_factory, data) -> None:
    whole = bytearray(dump({"a": np.arange(20.0), "m": CONTENT["csc"], "l": [1, {"x": (2, None)}]}, 2))
    if data.draw(st.booleans()):
        whole = whole[: data.draw(st.integers(0, len(whole) - 1))]
    for _ in range(data.draw(st.integers(0, 4))):
        if whole:
            whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "x.pkl"
    path.write_bytes(bytes(whole))
    for reader in (load_pickle, load_torch, load_npy):
        try:
            reader(path)
        except BlendsplatError:
            continue


def test_absent_file() -> None:
    for reader in (load_pickle, load_npy, load_torch):
        with pytest.raises(InputError, match="nowhere"):
            reader("nowhere/x.pkl")


def test_npy_with_tensors(write) -> None:
    """FLAME's landmark_embedding.npy: one dictionary in an array, tensors among its arrays."""
    content = {
        "bary": np.ones((51, 3)),
        "dynamic": torch.arange(12.0).reshape(3, 4).t(),
        "long": torch.arange(3),
        "e": np.array([]),
    }
    buffer = io.BytesIO()
    np.save(buffer, np.array(content, dtype=object), allow_pickle=True)
    have = load_npy(write(buffer.getvalue(), "landmark_embedding.npy"))
    np.testing.assert_array_equal(have["dynamic"], content["dynamic"].numpy())
    np.testing.assert_array_equal(have["long"], [0, 1, 2])
    buffer = io.BytesIO()
    np.save(buffer, np.eye(3))
    np.testing.assert_array_equal(load_npy(write(buffer.getvalue(), "plain.npy")), np.eye(3))


def test_npy_with_a_payload(write, tmp_path: Path) -> None:
    array = np.empty((), dtype=object)
    array[()] = Runs(os.system, f"touch '{tmp_path / 'flag'}'")
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    with pytest.raises(UnsafeFileError):
        load_npy(write(buffer.getvalue(), "x.npy"))
    assert not (tmp_path / "flag").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_frame_files(write, tmp_path: Path, zipped: bool) -> None:
    """metrical-tracker's .frame: torch.save of nested dictionaries of arrays and tensors."""
    shared = torch.arange(10.0)
    content = {
        "flame": {"exp": np.zeros((1, 100), np.float32), "shape": torch.randn(1, 300), "half": torch.ones(3).half()},
        "camera": {"R": torch.eye(3)[None], "strided": torch.arange(24).reshape(2, 3, 4).permute(2, 0, 1)},
        "img_size": np.array([512, 512]), "frame_id": "00001", "global_step": 7,
        "views": [shared[2:5], shared[::3], torch.nn.Parameter(shared)],
        "bf": torch.ones(2).bfloat16() * 3, "none": torch.zeros(0, 3),
    }  # fmt: skip
    path = tmp_path / "00001.frame"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    have = load_torch(path)
    np.testing.assert_array_equal(have["flame"]["shape"], content["flame"]["shape"])
    np.testing.assert_array_equal(have["flame"]["half"], [1, 1, 1])
    np.testing.assert_array_equal(have["camera"]["strided"], content["camera"]["strided"])
    for a, b in zip(have["views"], content["views"], strict=True):
        np.testing.assert_array_equal(a, b.detach())
    np.testing.assert_array_equal(have["bf"], [3, 3])
    assert have["none"].shape == (0, 3) and have["frame_id"] == "00001" and have["global_step"] == 7

    whole = path.read_bytes()
    for cut in (len(whole) // 2, len(whole) - 30):
        with pytest.raises(FormatError):
            load_torch(write(whole[:cut], "cut.frame"))


def test_frame_with_a_payload(tmp_path: Path) -> None:
    torch.save({"flame": Runs(os.system, f"touch '{tmp_path / 'flag'}'")}, tmp_path / "bad.frame")
    with pytest.raises(UnsafeFileError, match="system"):
        load_torch(tmp_path / "bad.frame")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.frame")
    with pytest.raises(UnsafeFileError, match=r"torch\.nn"):
        load_torch(tmp_path / "module.frame")
    assert not (tmp_path / "flag").exists()
