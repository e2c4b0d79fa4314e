# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the engine's files (docs/formats.md) with numpy alone: tracked performances, avatars, fitted photographs.

Pickles are never loaded, versions and shapes are checked, and what is wrong is said in one sentence.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from .space import matrix_to_rotvec

TRACKING, TRACKING_VERSION = "blendsplat-tracking", 1
AVATAR, AVATAR_VERSION = "blendsplat-avatar", 2
OWN_SYSTEM = "rgbavatar"  # whose every array this add-on knows
FIT, FIT_VERSION = "blendsplat-fit", 1
CORRECTIONS, CORRECTIONS_VERSION = "blendsplat-corrections", 1
_RATES = (10.0, 12.0, 15.0, 24.0, 25.0, 30.0, 50.0, 60.0)  # of cameras and films
_EXACT_RATES = (*_RATES, 24000 / 1001, 30000 / 1001, 48.0, 60000 / 1001, 100.0, 120.0)
_DIGITS = 100  # of a whole number in a JSON file: a float can hold it
_STAMPED = 1.001e-3  # seconds by which some containers' time stamps, whole milliseconds, are off
EARLIER_HEAD = "builtin"  # the family of the head that earlier versions brought
_LONGEST = 1000  # letters of a sentence
_UNPACKED, _SQUEEZED = 2**27, 50  # bytes that a file may unpack to, and how far a larger one may have been squeezed


class FileError(Exception):
    """A file cannot be used; the text is a sentence that names it and the way out."""

    def __init__(self, sentence: str) -> None:
        super().__init__(plain_sentence(sentence))


def plain_sentence(text: str) -> str:
    """``text`` as Blender can show it on one line: without control characters and halves of letters, and cut in the
    middle where what it quotes is very long."""
    line = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text).encode("utf-8", "backslashreplace").decode()
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST * 2 // 3]} ... {line[-_LONGEST // 4 :]}"


@dataclass
class Rig:
    """A person's head (arrays of the avatar file's ``rig.*``, engine space, float32).

    S = 0: the shape is built in. Else the template is the model's mean head, and ``shape`` makes the person of it.
    """

    template: np.ndarray  # [V,3]
    faces: np.ndarray  # [F,3]
    uvs: np.ndarray  # [T,2]
    uv_faces: np.ndarray  # [F,3]
    expression_directions: np.ndarray  # [E,V,3]
    eyelid_directions: np.ndarray  # [2,V,3]
    pose_directions: np.ndarray  # [36,V,3]
    joints: np.ndarray  # [5,3]
    joint_expression_directions: np.ndarray  # [E,5,3]
    skin_weights: np.ndarray  # [V,5]
    expression_names: tuple[str, ...] = ()
    expression_range: tuple[float, float] = (0.0, 1.0)
    shape_directions: np.ndarray = field(default_factory=lambda: np.zeros((0, 1, 3), np.float32))  # [S,V,3]
    joint_shape_directions: np.ndarray = field(default_factory=lambda: np.zeros((0, 5, 3), np.float32))  # [S,5,3]
    shape: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))  # [S]
    shape_names: tuple[str, ...] = ()

    def joints_of(self, shape: np.ndarray, expression: np.ndarray) -> np.ndarray:
        """Joints [5,3] of the person with this shape [S] and expression [E], unposed."""
        moved = np.einsum("e,ejc->jc", expression, self.joint_expression_directions)
        return self.joints + np.einsum("s,sjc->jc", shape, self.joint_shape_directions) + moved


_RIG_SHAPES = {
    "template": ("V", 3), "faces": ("F", 3), "uvs": ("T", 2), "uv_faces": ("F", 3),
    "expression_directions": ("E", "V", 3),
    "eyelid_directions": (2, "V", 3), "pose_directions": (36, "V", 3), "joints": (5, 3),
    "joint_expression_directions": ("E", 5, 3), "skin_weights": ("V", 5),
}  # fmt: skip
_IDENTITY_SHAPES = {"shape_directions": ("S", "V", 3), "joint_shape_directions": ("S", 5, 3), "shape": ("S",)}
# What any system's avatar has that can be shown; blendshapes and what drives them; what need not be there.
_CARRIER_SHAPES = {
    "triangle": ("N",), "barycentrics": ("N", 3), "positions": ("N", 3), "log_scales": ("N", 3), "quats": ("N", 4),
    "opacity_logits": ("N",), "colors": ("N", 3),
}  # fmt: skip
_BLENDSHAPE_SHAPES = {
    "delta_positions": ("K", "N", 3), "delta_quats": ("K", "N", 4), "delta_colors": ("K", "N", 3),
}  # fmt: skip
_CAMERA_SHAPES = {"camera.K": (3, 3), "camera.viewmat": (4, 4), "camera.size": (2,)}
_OPTIONAL_SHAPES = {
    **_CAMERA_SHAPES, "neutral_translation": (3,), "neutral_rotation": (3, 3), "neutral_expression": ("E",),
    "neutral_jaw_pose": (3,), "neutral_eyes_pose": (2, 3), "neutral_eyelids": (2,),
}  # fmt: skip
_RANGE_SHAPES = {
    "feature_range": (2, "D"), "weight_range": (2, "K"), "weight_mean": ("K",), "weight_covariance": ("K", "K"),
    "weight_reach": (1,),
}  # fmt: skip
# What the clip showed: lowest, 1st and 99th percentile, highest; and a grid of views. All of them or none.
_SEEN_SHAPES = {
    "seen.expression": (4, "E"), "seen.jaw_pose": (4, 3), "seen.neck_pose": (4, 3), "seen.eyes_pose": (4, 2, 3),
    "seen.eyelids": (4, 2), "seen.views": (7, 9),
}  # fmt: skip
_TRACKING_SHAPES = {
    "timestamps": ("F",), "valid": ("F",), "expression": ("F", "E"), "root_pose": ("F", 3), "neck_pose": ("F", 3),
    "jaw_pose": ("F", 3), "eyes_pose": ("F", 2, 3), "eyelids": ("F", 2), "translation": ("F", 3), "K": (3, 3),
    "viewmat": (4, 4), "shape": ("S",), "vertex_offsets": ("V", 3),
}  # fmt: skip
_TOLD_SHAPES = {  # in newer files
    "landmark_errors": ("F",), "confidence": ("F",), "region_confidence": ("F", "R"), "zoom": ("F",),
}  # fmt: skip
_FRAME_SHAPES = {
    "neck_pose": ("N", 3), "translation": ("N", 3), "jaw_pose": ("N", 3), "eyes_pose": ("N", 2, 3), "eyelids": ("N", 2),
    "expression": ("N", "E"),
}  # fmt: skip
_CORRECTION_SHAPES = {
    **_FRAME_SHAPES, "frames": ("N",), "root_pose": ("N", 3), "changed": ("N", "P"), "focal": ("N",),
    "distance": ("N",),
}  # fmt: skip


@dataclass
class AvatarFile:
    """NAME.avatar.npz in memory. ``layers``: the MLP's (weight, bias) pairs in order; none without blendshapes."""

    path: Path
    meta: dict[str, Any]
    arrays: dict[str, np.ndarray]
    rig: Rig
    layers: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)

    @property
    def system(self) -> str:
        """The avatar system that made it."""
        return str(self.meta.get("system", OWN_SYSTEM))

    @property
    def figures(self) -> dict[str, float]:
        """What its training measured, as far as the file says."""
        training = self.meta.get("training")
        told = training.get("figures") if isinstance(training, dict) else None
        told = told if isinstance(told, dict) else {}
        return {str(name): float(value) for name, value in told.items() if isinstance(value, (int, float))}

    @property
    def places(self) -> list[tuple[str, float]]:
        """Where each blendshape acts and its share of all that they do; [] where the file does not say."""
        try:
            told = [(str(place), float(share)) for place, share in self.meta.get("blendshape_places") or ()]
        except (TypeError, ValueError):
            return []
        return told if len(told) == self.blendshapes and all(0 <= share <= 1 for _, share in told) else []

    @property
    def gaussians(self) -> int:
        return len(self.arrays["positions"])

    @property
    def blendshapes(self) -> int:
        return len(self.arrays["delta_positions"])


@dataclass
class Fit:
    """A fitted photograph's folder: what it shows, its pictures and its numbers (a performance of one frame)."""

    folder: Path
    name: str  # the photograph's, without its ending
    method: str
    warnings: list[str]
    photograph: Path
    texture: Path | None
    performance: Performance


@dataclass
class Performance:
    """tracking.npz in memory: what a clip's head does, frame by frame (engine space)."""

    path: Path
    meta: dict[str, Any]
    arrays: dict[str, np.ndarray]

    def __getattr__(self, name: str) -> np.ndarray:
        try:
            return self.__dict__["arrays"][name]
        except KeyError:
            raise AttributeError(name) from None

    @property
    def frame_count(self) -> int:
        return len(self.arrays["timestamps"])

    @property
    def valid_rows(self) -> np.ndarray:
        """Rows with a tracked face; the curves run straight through what lies between."""
        return np.flatnonzero(self.arrays["valid"])

    @property
    def fps(self) -> float:
        """Mean frame rate of the clip; of one that is not steady the rate of the film from which it has frames."""
        times = self.arrays["timestamps"]
        if len(times) < 2 or times[-1] <= times[0]:
            return 25.0
        if self.steady:
            return _exact(times, float((len(times) - 1) / (times[-1] - times[0])))
        rate = 1 / float(np.percentile(np.diff(times), 10))
        usual = min(_RATES, key=lambda one: abs(one - rate))
        return usual if abs(usual - rate) < 0.08 * usual else rate

    @property
    def steady(self) -> bool:
        """Frames come evenly: none is more than a frame from where it would be at the mean rate. A live take, from
        which frames were dropped, is not steady."""
        times = np.asarray(self.arrays["timestamps"], float)
        if len(times) < 3 or times[-1] <= times[0]:
            return True
        even = np.linspace(times[0], times[-1], len(times))
        return bool(np.abs(times - even).max() <= 1.0001 * (even[1] - even[0]))


def _exact(times: np.ndarray, mean: float) -> float:
    """The usual rate next to the mean one whose milliseconds time stamps [F] are; without such a one the mean."""
    since = np.asarray(times, float) - times[0]
    for rate in sorted(_EXACT_RATES, key=lambda one: abs(one - mean)):
        if np.abs(since - np.arange(len(since)) / rate).max() <= _STAMPED:
            return rate
    return mean


def read_npz(path: Path | str, format_name: str, newest: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(meta, arrays) of one of the engine's .npz files. Raises FileError."""
    path = Path(path)
    if not path.is_file():
        raise FileError(f"{path} does not exist.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            if sum(one.file_size for one in archive.zip.infolist()) > max(_UNPACKED, _SQUEEZED * path.stat().st_size):
                raise ValueError("it would fill the memory")
            meta = json.loads(archive["meta"].tobytes().decode())
            arrays = {name: archive[name] for name in archive.files if name != "meta"}
        if not all(isinstance(array, np.ndarray) for array in arrays.values()):
            raise ValueError("a part of it is no array")
    except Exception as error:  # zip, zlib, json and numpy each raise their own on damaged input
        raise FileError(f"{path} is damaged or not a {format_name} file; make it again. ({error})") from error
    _check_header(meta, path, format_name, newest)
    return meta, arrays


def read_header(path: Path | str, format_name: str = AVATAR, newest: int = AVATAR_VERSION) -> dict[str, Any]:
    """The header alone, without loading the arrays. Raises FileError."""
    try:
        if not Path(path).is_file():
            raise ValueError("no file")
        with np.load(path, allow_pickle=False) as archive:
            meta = json.loads(archive["meta"].tobytes().decode())
    except Exception as error:
        raise FileError(f"{path} is damaged or not a {format_name} file; make it again. ({error})") from error
    _check_header(meta, Path(path), format_name, newest)
    return dict(meta)


def read_json(path: Path) -> Any:
    """A JSON file. Raises OSError, and ValueError for what is no JSON, or no file: a pipe may never end."""
    if path.exists() and not path.is_file():
        raise ValueError("no file")
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), parse_int=_whole_number)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _whole_number(digits: str) -> int:
    """Raises ValueError for numbers that no float can hold."""
    if len(digits) > _DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _check_header(meta: Any, path: Path, format_name: str, newest: int) -> None:
    if not isinstance(meta, dict) or meta.get("format") != format_name:
        raise FileError(f"{path} is not a {format_name} file.")
    if not isinstance(meta.get("version"), int) or meta["version"] > newest:
        raise FileError(
            f"{path} comes from a newer Blendsplat (version {meta.get('version')} of its format): update the add-on."
        )


def read_avatar(path: Path | str) -> AvatarFile:
    """Read and check an avatar file of any system whose Gaussians lie on the head's triangles. Raises FileError."""
    path = Path(path)
    meta, arrays = read_npz(path, AVATAR, AVATAR_VERSION)
    system = str(meta.get("system", OWN_SYSTEM))
    needed = {*_CARRIER_SHAPES, *(f"rig.{name}" for name in _RIG_SHAPES)}
    if system != OWN_SYSTEM and not needed <= set(arrays):
        raise FileError(f"{path} holds an avatar of the system {system!r}, which this add-on cannot show: update it.")
    if (where := meta.get("space", "tangent")) != "tangent":
        raise FileError(
            f"{path} holds an avatar whose Gaussians lie in {where} space: the head's joints move them, not its skin, "
            'and Blender cannot show that. Train it with space = "tangent", or render it with the engine.'
        )
    rig = rig_from(meta, arrays, path)
    sizes = _check(path, arrays, _CARRIER_SHAPES)
    _check_indices(path, arrays, "triangle", len(rig.faces))
    if not any(name in arrays for name in _BLENDSHAPE_SHAPES):
        arrays |= {name: np.zeros((0, sizes["N"], shape[2]), np.float32) for name, shape in _BLENDSHAPE_SHAPES.items()}
    sizes |= _check(path, arrays, _BLENDSHAPE_SHAPES, sizes)
    told = {name: shape for name, shape in _OPTIONAL_SHAPES.items() if name in arrays}
    if any(name in arrays for name in _SEEN_SHAPES):
        told |= _SEEN_SHAPES
    _check(path, arrays, told, {"E": len(rig.expression_directions)})
    layers = _layers(path, arrays)
    if not sizes["K"]:
        return AvatarFile(path, meta, arrays, rig)
    features = sum(int(size) for _, size in meta.get("feature_layout", ()))
    if not layers or layers[0][0].shape[1] != features or len(layers[-1][1]) != sizes["K"]:
        raise FileError(f"{path}: the network does not fit the features or the blendshapes; train the avatar again.")
    ranges = {name: shape for name, shape in _RANGE_SHAPES.items() if name in arrays}
    _check(path, arrays, {"feature_origin": (3,), **ranges}, {"D": features, "K": sizes["K"]})
    for name in ("feature_range", "weight_range"):
        if name in arrays and (arrays[name][0] > arrays[name][1]).any():
            raise FileError(f"{path}: the array {name!r} has its lowest above its highest; train the avatar again.")
    if "weight_covariance" in arrays and not _is_covariance(arrays["weight_covariance"]):
        raise FileError(f"{path}: the array 'weight_covariance' is no covariance; train the avatar again.")
    return AvatarFile(path, meta, arrays, rig, layers)


def _is_covariance(array: np.ndarray) -> bool:
    """Whether [K,K] is symmetric and has no negative eigenvalue, as far as rounding tells."""
    exact = np.asarray(array, float)
    size = max(float(np.abs(exact).max(initial=0)), 1e-30)
    return bool(
        np.allclose(exact, exact.T, atol=1e-5 * size) and np.linalg.eigvalsh(exact / size).min(initial=0) > -1e-4
    )


def _layers(path: Path, arrays: dict[str, np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    layers: list[tuple[np.ndarray, np.ndarray]] = []
    while f"mlp.{len(layers)}.weight" in arrays:
        index = len(layers)
        weight, bias = arrays[f"mlp.{index}.weight"], arrays.get(f"mlp.{index}.bias")
        if (
            bias is None
            or weight.ndim != 2
            or bias.shape != weight.shape[:1]
            or (layers and weight.shape[1] != len(layers[-1][1]))
        ):
            raise FileError(f"{path}: layer {index} of the network does not fit; train the avatar again.")
        layers.append((weight, bias))
    return layers


def rig_from(meta: dict[str, Any], arrays: dict[str, np.ndarray], path: Path | str) -> Rig:
    """The ``rig.*`` arrays as a Rig. Raises FileError."""
    wanted = _RIG_SHAPES | (_IDENTITY_SHAPES if "rig.shape" in arrays else {})
    sizes = _check(path, arrays, {f"rig.{name}": shape for name, shape in wanted.items()})
    _check_indices(path, arrays, "rig.faces", sizes["V"])
    _check_indices(path, arrays, "rig.uv_faces", sizes["T"])
    try:
        low, high = (float(bound) for bound in meta.get("expression_range", (0.0, 1.0)))
    except (TypeError, ValueError) as error:
        raise FileError(f"{path} has a range of expressions that is none; make it again.") from error
    return Rig(
        **{name: arrays[f"rig.{name}"] for name in wanted},
        expression_names=_names(meta.get("expression_names", ()), sizes["E"], "expression"),
        expression_range=(low, high),
        shape_names=_names(meta.get("shape_names", ()), sizes.get("S", 0), "shape"),
    )


def _names(given: Any, count: int, what: str) -> tuple[str, ...]:
    """The given names when there is one for each, else numbers."""
    names = tuple(str(name) for name in given) if isinstance(given, list) else ()
    return names if len(names) == count else tuple(f"{what} {index + 1:02d}" for index in range(count))


def is_of_earlier_head(path: Path | str) -> bool:
    """Whether a tracking.npz is of the head of earlier versions, which is made no more; no for other files."""
    try:
        meta = read_header(path, TRACKING, TRACKING_VERSION)
    except FileError:
        return False
    return str(meta.get("head_family") or meta.get("head")) == EARLIER_HEAD


def head_model_id(rig: Rig) -> str:
    """16 hexadecimal digits, equal for heads whose expressions mean the same: the engine's HeadModel.model_id, from the
    faces and the expressions in whole micrometres."""
    digest = hashlib.sha256(np.ascontiguousarray(rig.faces, "<i4").tobytes())
    digest.update(np.rint(np.asarray(rig.expression_directions, np.float64) * 1e6).astype("<i4").tobytes())
    return digest.hexdigest()[:16]


def read_fit(folder: Path | str) -> Fit:
    """Read and check a folder that fit-image wrote. Raises FileError."""
    folder = Path(folder)
    path = folder / "fit.json"
    if not path.is_file():
        raise FileError(f"{folder} holds no fitted photograph (fit.json); fit the photograph again.")
    try:
        meta = read_json(path)
    except (OSError, ValueError) as error:
        raise FileError(f"{path} cannot be read; fit the photograph again. ({error})") from error
    _check_header(meta, path, FIT, FIT_VERSION)
    photograph, texture = folder / "photograph.jpg", folder / "texture.png"
    if not photograph.is_file():
        raise FileError(f"{photograph} is missing; fit the photograph again.")
    performance = read_performance(folder)
    warnings = meta.get("warnings") or []
    if not isinstance(warnings, list):
        raise FileError(f"{path} has warnings that are no list; fit the photograph again.")
    return Fit(
        folder, PureWindowsPath(str(meta.get("image") or folder.name)).stem, str(meta.get("method", "")),
        [str(warning) for warning in warnings], photograph, texture if texture.is_file() else None, performance,
    )  # fmt: skip


def read_performance(path: Path | str) -> Performance:
    """Read and check a tracking.npz, or the one in a clip's folder. Raises FileError."""
    path = Path(path)
    if path.is_dir():
        path = path / "tracking.npz"
    meta, arrays = read_npz(path, TRACKING, TRACKING_VERSION)
    told = {name: shape for name, shape in _TOLD_SHAPES.items() if name in arrays}
    _check(path, arrays, {**_TRACKING_SHAPES, **told})
    performance = Performance(path, meta, arrays)
    if not len(performance.valid_rows):
        raise FileError(f"{path} has no frame with a tracked face.")
    return performance


def write_performance(path: Path, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write a tracking.npz of one frame, whole or not at all. meta: head, head_source, head_model, head_family, width,
    height, expression_names; arrays as in the file, rotations also as matrices."""
    whole = {"timestamps": np.zeros(1), "valid": np.ones(1, bool)}
    for name, values in arrays.items():
        rotation = name.endswith("_pose") and values.shape[-2:] == (3, 3)
        whole[name] = (matrix_to_rotvec(values) if rotation else values).astype(np.float32)
    _write_npz(path, {"format": TRACKING, "version": TRACKING_VERSION, "figures": {}, **meta}, whole)


def read_corrections(directory: Path) -> dict[str, np.ndarray]:
    """The arrays of a clip's corrections.npz (docs/formats.md); {} where nothing was corrected. Raises FileError."""
    path = directory / "corrections.npz"
    if not path.exists():
        return {}
    _, arrays = read_npz(path, CORRECTIONS, CORRECTIONS_VERSION)
    _check(path, arrays, _CORRECTION_SHAPES)
    return {name: arrays[name] for name in _CORRECTION_SHAPES}


def add_correction(
    directory: Path, performance: Performance, row: int, frame: dict[str, np.ndarray], changed: np.ndarray
) -> Path:
    """Write the clip's corrections with the one of ``row`` added (what was said of the row before still counts) as
    corrections.new.npz, whole or not at all -> its path. frame: its numbers by name; changed [15+E].

    Raises FileError, OSError.
    """
    before = read_corrections(directory)
    same = np.flatnonzero(before["frames"] == row) if before else np.zeros(0, int)
    if len(same):
        changed = changed | before["changed"][same[0]].astype(bool)
    new = {
        **frame, "frames": np.int64(row), "root_pose": performance.root_pose[row], "changed": changed,
        "focal": performance.K[0, 0], "distance": performance.viewmat[2, 3],
    }  # fmt: skip
    if any(before[name].shape[1:] != np.shape(new[name]) for name in before):
        raise FileError(f"{directory / 'corrections.npz'} belongs to another head; track the clip again, or remove it.")
    whole = {}
    for name in _CORRECTION_SHAPES:
        kind = {"frames": np.int64, "changed": bool}.get(name, np.float32)
        mine = np.asarray(new[name], kind)[None]
        whole[name] = np.concatenate([np.delete(before[name], same, 0).astype(kind), mine]) if before else mine
    order = np.argsort(whole["frames"])
    path = directory / "corrections.new.npz"
    header = {
        "format": CORRECTIONS, "version": CORRECTIONS_VERSION,
        "head_model": str(performance.meta.get("head_model", "")),
    }  # fmt: skip
    _write_npz(path, header, {name: array[order] for name, array in whole.items()})
    return path


def lens_of(directory: Path, performance: Performance) -> tuple[float, float, float]:
    """The tracked clip's lens as its source's camera has it in Blender: focal length in mm for a sensor of 36 mm along
    the longer side, shift x and y. Raises FileError."""
    path = directory / "clip.json"
    try:
        clip = read_json(path)
        x, y, size = (float(value) for value in clip["crop"])
        width, height = (float(value) for value in clip["source_size"])
        shrunk, longest = max(size, 1) / float(performance.meta["width"]), max(width, height, 1.0)
        if not np.isfinite([x, y, shrunk, width, height]).all():
            raise ValueError("numbers that are not finite")
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError) as error:
        raise FileError(f"{path} cannot be read; import the video again. ({error})") from error
    (focal, _, u), (_, _, v) = performance.K[:2].astype(np.float64) * shrunk
    with np.errstate(all="ignore"):
        lens = focal * 36.0 / longest, (width / 2 - x - u) / longest, (v + y - height / 2) / longest
    if not np.isfinite(lens).all():
        raise FileError(f"{path} has a size that no picture has; import the video again.")
    return lens


def _write_npz(path: Path, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write an .npz with a JSON header, whole or not at all."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        with open(temporary, "wb") as file:
            np.savez(file, meta=np.frombuffer(json.dumps(header).encode(), np.uint8), **arrays)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _check(
    path: Path | str, arrays: dict[str, np.ndarray], shapes: dict[str, tuple], known: dict[str, int] | None = None
) -> dict[str, int]:
    """Check names, shapes (equal letters are equal sizes, some known before), finite values -> the letters' sizes."""
    sizes = dict(known or {})
    for name, want in shapes.items():
        if name not in arrays:
            raise FileError(f"{path} lacks the array {name!r}; make it again.")
        have = arrays[name].shape
        fits = len(have) == len(want) and all(
            (sizes.setdefault(w, h) == h) if isinstance(w, str) else w == h for w, h in zip(want, have, strict=True)
        )
        if not fits:
            raise FileError(f"{path}: the array {name!r} has shape {have}, which does not fit; make it again.")
        if arrays[name].dtype.kind not in "fiub":
            raise FileError(f"{path}: the array {name!r} holds {arrays[name].dtype} instead of numbers; make it again.")
        if arrays[name].dtype.kind == "f" and not np.isfinite(arrays[name]).all():
            raise FileError(f"{path}: the array {name!r} holds values that are not finite; make it again.")
    return sizes


def _check_indices(path: Path | str, arrays: dict[str, np.ndarray], name: str, count: int) -> None:
    values = arrays[name]
    if values.dtype.kind not in "iu" or (values.size and (values.min() < 0 or values.max() >= count)):
        raise FileError(f"{path}: the array {name!r} points outside of the head; make it again.")
