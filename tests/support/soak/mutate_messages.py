# SPDX-License-Identifier: Apache-2.0
"""Messages as nobody should send them: malformed, cut off, too long, of odd types, and with paths that want elsewhere.

A message is bytes on the pipe (docs/formats.md). ``whole`` ones keep the framing, so the next one can be read; what
does not is ``broken``: the other side may then close.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .mutate import Random, flipped, odd_value, pick

_HEADER = struct.Struct("<IQ")


@dataclass
class Sent:
    """bytes, whether the stream can be followed after them, and the id with which an answer must come (None: none
    must)."""

    data: bytes
    whole: bool = True
    identity: Any = None


def framed(body: Any, payload: bytes = b"") -> bytes:
    """A message whose lengths are true."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode("utf-8", "surrogatepass")
    return _HEADER.pack(len(text), len(payload)) + text + payload


def _is_json(message: bytes) -> bool:
    """Whether a whole message's text is what RFC 8259 calls JSON."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        json.loads(message[12 : 12 + _HEADER.unpack(message[:12])[0]].decode("utf-8"), parse_constant=refuse)
    except (ValueError, RecursionError):
        return False
    return True


class Paths:
    """Paths in a message: inside of the folder ``named``, and all that is not for reading."""

    def __init__(self, named: Path) -> None:
        self.named = named
        for name, target in (("loop", "loop"), ("zero", "/dev/zero"), ("up", "..")):
            if not (named / name).is_symlink():
                (named / name).symlink_to(target)
        self.sound = [str(path) for path in sorted(named.iterdir()) if path.is_file() or path.is_dir()]

    def target(self, random: Random) -> str:
        """Where something might be asked to be written to: nothing outside of the folder and the user's own."""
        named = str(self.named)
        return str(
            pick(
                random,
                (
                    *self.sound,
                    "relative.npz",
                    "../up.npz",
                    "./x/../y.avatar.npz",
                    "",
                    ".",
                    "/",
                    "~",
                    "~/x.npz",
                    "a\0b",
                    f"{named}/pipe",
                    f"{named}/loop",
                    f"{named}/zero",
                    f"{named}/up",
                    f"{named}/" + "x" * 300,
                    f"{named}/\udcff",
                    "file:///tmp/x",
                    "C:\\x.npz",
                    f"{named}/a.npz/inside.npz",
                    f"{named}/new/folder/x.mp4",
                ),
            )
        )

    def draw(self, random: Random) -> str:
        """One of them; half of the time something that is there."""
        named = str(self.named)
        if random.random() < 0.5:
            return str(pick(random, self.sound))
        return str(
            pick(
                random,
                (
                    "/dev/zero",
                    "/proc/self/mem",
                    "/dev/stdin",
                    "/dev/full",
                    "/proc/self/environ",
                    "/dev/tty",
                    "relative.npz",
                    "../up.npz",
                    "",
                    ".",
                    "/",
                    "~",
                    "~nobody/x",
                    "a\0b",
                    f"{named}/pipe",
                    f"{named}/loop",
                    f"{named}/zero",
                    f"{named}/gone/../../gone.npz",
                    f"{named}/" + "x" * 300,
                    "/" + "a/" * 3000,
                    f"{named}/\udcff",
                    "file:///etc/passwd",
                    "https://127.0.0.1:9/x",
                    "\\\\host\\share\\x",
                    "C:\\x",
                    "con",
                    f"{named}/a.npz/",
                    "/proc/self/fd/0",
                    "%s%n",
                ),
            )
        )


# method -> its parameters; PATH stands for a path
_METHODS: dict[str, dict[str, Any]] = {
    "ping": {},
    "job.list": {},
    "camera.list": {},
    "hello": {"protocol": 1, "client": "x"},
    "avatar.describe": {"path": "PATH"},
    "head.rig": {"directory": "PATH", "identity": False},
    "weights.describe": {"weights": "PATH"},
    "job.cancel": {"job": "JOB"},
    "job.frame": {"job": "JOB", "info": {}},
    "avatar.drive": {"path": "PATH", "device": "cpu", "bounded": False, "shown": "full", "hold_back": 0.0},
    "render.gaussians": {"width": 8, "height": 8, "device": "cpu"},
}
# job kind -> parameters that end soon, whatever the paths are
_JOBS: dict[str, dict[str, Any]] = {
    "selftest": {"seconds": 0.01, "steps": 2},
    "selftest_train": {"seconds": 0.01, "steps": 2},
    "import": {"video": "PATH", "directory": "OUT"},
    "track": {"directory": "PATH"},
    "correct": {"directory": "PATH"},
    "train": {"directory": "PATH", "output": "OUT", "preset": "PATH"},
    "keys": {"avatar": "PATH"},
    "render": {"avatar": "PATH", "performance": "PATH", "output": "OUT", "count": 1},
    "export": {"avatar": "PATH", "performance": "PATH", "output": "OUT"},
    "recording": {"source": "PATH", "directory": "OUT", "head": "PATH"},
    "vhap": {"directory": "PATH", "output": "OUT"},
    "convert": {"tracked": "PATH", "head": "PATH", "output": "OUT"},
    "reenact": {"avatar": "PATH", "performance": "PATH", "output": "OUT"},
    "export_head": {"fit": "PATH", "output": "OUT"},
    "bake": {"avatar": "PATH", "frames": 2},
    "evaluate": {"avatar": "PATH", "directory": "PATH"},
    "nothing": {},
    "fit_image": {"images": ["PATH"], "directory": "OUT"},
}
_SHAPES: dict[str, tuple[int, ...]] = {
    "means": (3, 3),
    "quats": (3, 4),
    "scales": (3, 3),
    "opacities": (3,),
    "colors": (3, 3),
    "viewmat": (4, 4),
    "K": (3, 3),
    "expression": (1, 3),
    "root_pose": (1, 3),
    "neck_pose": (1, 3),
    "jaw_pose": (1, 3),
    "eyes_pose": (1, 2, 3),
    "eyelids": (1, 2),
    "translation": (1, 3),
    "vertices": (1, 48, 3),
    "occluders": (3, 3),
    "occluder_faces": (1, 3),
}


class Attacker:
    """Draws messages to the engine. out: the only place where results may lie."""

    def __init__(self, random: Random, paths: Paths, out: Path) -> None:
        self._random, self._paths, self._out = random, paths, out
        self._number = 0
        self._before: list[bytes] = []
        self.jobs: list[str] = ["job-1", "job-99999"]

    def draw(self) -> Sent:
        """A message that leaves the stream readable."""
        random, way = self._random, self._random.random()
        if way < 0.08 and self._before:
            return Sent(pick(random, self._before))  # replayed, out of its order
        if way < 0.2:
            return Sent(framed(self._no_request()))
        if way < 0.27:
            return Sent(
                framed({"jsonrpc": "2.0", "id": 1, "method": "ping", "attachments": self._odd_list()}, random.bytes(12))
            )
        body, arrays = self._request()
        identity = body["id"]
        if way < 0.35:
            body[pick(random, sorted(body))] = odd_value(random)
            identity = None
        data = self._with_arrays(body, arrays)
        if way > 0.97:
            data, identity = data[:12] + flipped(random, data[12:]), None
        if not _is_json(data):  # then nobody knows who asked
            identity = None
        self._before = [*self._before[-20:], data]
        return Sent(data, identity=identity)

    def broken(self) -> bytes:
        """Bytes after which nothing can be trusted."""
        random = self._random
        whole = self._with_arrays(*self._request())
        return pick(
            random,
            (
                whole[: int(random.integers(1, len(whole)))],
                _HEADER.pack(2**32 - 1, 0),
                _HEADER.pack(10, 2**63),
                _HEADER.pack(16 * 2**20, 4 * 2**30) + b"{}",
                _HEADER.pack(2, 4 * 2**30) + b"{}" + bytes(1000),
                b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                b"Last login: Mon\n" * 3,
                random.bytes(200),
                b"\0" * 11,
                b"\xff" * 400,
            ),
        )

    def _request(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        random = self._random
        self._number += 1
        if random.random() < 0.45:
            kind = pick(random, sorted(_JOBS))
            method, params = "job.start", {"kind": kind, "params": self._params(_JOBS[kind])}
        else:
            method = pick(random, sorted(_METHODS))
            params = self._params(_METHODS[method])
        return {"jsonrpc": "2.0", "id": f"m{self._number}", "method": method, "params": params}, self._arrays(method)

    def _params(self, template: dict[str, Any]) -> dict[str, Any]:
        random = self._random
        params = {key: self._filled(value) for key, value in template.items()}
        if params and random.random() < 0.3:
            key = pick(random, sorted(params))
            params[key] = odd_value(random)
        if random.random() < 0.1:
            params[pick(random, ("device", "x", "", "landmarker", "overwrite", "matte", "head", "preset"))] = odd_value(
                random
            )
        if params and random.random() < 0.05:
            params.pop(pick(random, sorted(params)))
        return params

    def _filled(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._filled(item) for item in value]
        if value == "PATH":
            return self._paths.draw(self._random)
        if value == "OUT":
            return (
                self._paths.target(self._random)
                if self._random.random() < 0.3
                else str(self._out / f"o{self._number}.npz")
            )
        return pick(self._random, self.jobs) if value == "JOB" else value

    def _arrays(self, method: str) -> dict[str, np.ndarray]:
        random = self._random
        if method not in ("avatar.drive", "render.gaussians", "job.frame") or random.random() < 0.2:
            return {}
        names = list(_SHAPES)[7:14] if method == "avatar.drive" else list(_SHAPES)[:7]
        arrays = {name: random.normal(size=_SHAPES[name]).astype(np.float32) for name in names}
        if random.random() < 0.5:
            name = pick(random, list(_SHAPES))
            arrays[name] = pick(
                random,
                (
                    np.zeros((0, 3), np.float32),
                    np.full(_SHAPES[name], np.nan, np.float32),
                    np.zeros(_SHAPES[name], np.int64),
                    np.full(_SHAPES[name], 1e38, np.float32),
                    np.ones((2, 2, 2), np.float64),
                    np.zeros(_SHAPES[name], np.float16),
                ),
            )
        return arrays

    def _with_arrays(self, body: dict[str, Any], arrays: dict[str, np.ndarray]) -> bytes:
        listed = [
            {"name": name, "dtype": array.dtype.name, "shape": list(array.shape)} for name, array in arrays.items()
        ]
        if listed and isinstance(body, dict):
            body = {**body, "attachments": listed}
        return framed(body, b"".join(array.tobytes() for array in arrays.values()))

    def _no_request(self) -> Any:
        random = self._random
        return pick(
            random,
            (
                b"",
                b"{",
                b"\xff\xfe",
                b"[" * 90_000,
                b'{"a":' * 50_000,
                b"null",
                b"[1]",
                b'"x"',
                b"{}",
                b"NaN",
                b"1" * 9000,
                {"jsonrpc": "1.0", "id": 1, "method": "ping"},
                {"jsonrpc": "2.0"},
                {"jsonrpc": "2.0", "id": 3},
                {"jsonrpc": "2.0", "method": "ping", "id": odd_value(random)},
                [{"jsonrpc": "2.0", "method": "ping", "id": 1}],
                {"jsonrpc": "2.0", "method": odd_value(random), "id": 1},
                {"jsonrpc": "2.0", "method": "x" * 10_000, "id": 1},
                {"jsonrpc": "2.0", "method": "ping", "id": 1, "params": odd_value(random)},
                random.bytes(300),
                {"jsonrpc": "2.0", "id": 1, "result": {}},
                {"jsonrpc": "2.0", "method": "_handle", "id": 1, "params": {}},
                {"jsonrpc": "2.0", "method": "__init__", "id": [], "params": {"__class__": "x"}},
            ),
        )

    def _odd_list(self) -> Any:
        random = self._random
        entry = {"name": "a", "dtype": "float32", "shape": [3]}
        shape = pick(
            random,
            ([2**62], [2**40], [-1], [3.5], ["3"], [True], [3, 2**62], [0, 2**62], [1] * 70, 3, None, [[3]], [10**30]),
        )
        return pick(
            random,
            (
                odd_value(random),
                [odd_value(random)],
                [entry, entry],
                [{**entry, "dtype": odd_value(random)}],
                [{**entry, "name": odd_value(random)}],
                [{**entry, "shape": shape}],
                [{**entry, "shape": shape}],
                [entry] * 500,
                [{**entry, "dtype": "object"}],
                [{**entry, "dtype": "float128"}],
                [{**entry, "shape": [0]}, entry, {**entry, "shape": [1]}],
            ),
        )
