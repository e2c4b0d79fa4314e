# SPDX-License-Identifier: Apache-2.0
"""The five steps of an avatar's life on a tiny generated clip, into a folder that holds earlier results of all of them,
and the judge of what a stopped step left there."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
from safetensors import safe_open

from blendsplat.systems import load_avatar
from blendsplat.video.clip import Clip
from blendsplat.video.staged_folder import recover
from drawn_clip import write_drawn_clip

from .forked import Forked
from .table import Share

FRAMES = 4
TINY = {
    "uv_resolution": 14, "image_size": 32, "images": 32, "batch": 4, "blendshapes": 4, "mlp_width": 16,
    "texel_scale": 0.7, "decay_images": 0, "blendshapes_after": 8, "checkpoint_seconds": 1e-6,
}  # fmt: skip
Snapshot = dict[str, str]  # a file's place -> its digest


@dataclass
class Step:
    """One step, as a command and as the engine's job; {home} stands for the folder.

    free: names that the step may replace, each for itself, by whole files. together: a folder whose files change all at
    once; states: what may be in it. seconds, job_seconds: of an undisturbed command and job. writes: how often the
    command changes something on the disk.
    """

    name: str
    words: list[str]
    kind: str
    params: dict[str, Any]
    free: tuple[str, ...] = ()
    together: str = ""
    states: list[Snapshot] = field(default_factory=list)
    seconds: float = 0.0
    job_seconds: float = 0.0
    writes: int = 0

    def command(self, home: Path) -> list[str]:
        return [word.format(home=home) for word in self.words]

    def job(self, home: Path) -> dict[str, Any]:
        return {key: value.format(home=home) if isinstance(value, str) else value for key, value in self.params.items()}


@dataclass
class World:
    """Where tries begin: ``earlier`` is copied to one and the same place for each, since a clip names its source's."""

    earlier: Path
    place: Path
    before: Snapshot
    steps: list[Step]

    def home(self) -> Path:
        """The place as a try finds it."""
        shutil.rmtree(self.place, ignore_errors=True)
        return shutil.copytree(self.earlier, self.place)


def make_world(folder: Path, forked: Forked, place: Path | None = None, only: tuple[str, ...] = ()) -> World:
    """Make the earlier results, run every step undisturbed. place: of the tries; only: these steps, on a clip that is
    drawn with its tracking instead of tracked, in a fraction of the time."""
    earlier = folder / "earlier"
    if only:
        write_drawn_clip(earlier / "clip", FRAMES)
    else:
        _track(earlier, forked)
    for words in (
        ["train", "{home}/clip", "-o", "{home}/a.avatar.npz", *_settings({**TINY, "images": 16})],
        ["render", "{home}/a.avatar.npz", "-p", "{home}/clip", "-o", "{home}/a.mp4", "--count", "2"],
        ["export", "{home}/a.avatar.npz", "-p", "{home}/clip", "--ply", "{home}/a.ply"],
    ):
        _done(forked, words, earlier)
    world = World(earlier, place or folder / "home", snapshot(earlier), _steps())
    world.steps = [step for step in world.steps if not only or step.name in only]
    for step in world.steps:
        _measure(step, world, forked)
    if not only:
        both, track = world.steps[:2]
        both.job_seconds = max(both.seconds - track.seconds, 0.2)  # the command imports and tracks
    return world


def _track(folder: Path, forked: Forked) -> None:
    """A generated video, imported and tracked."""
    from blendsplat.synthetic.clip import make_clip

    make_clip(folder / "v.mp4", FRAMES)
    _done(forked, ["track", "{home}/v.mp4", "-o", "{home}/clip", "--size", "80", "--refine", "none"], folder)


def _done(forked: Forked, words: list[str], home: Path) -> None:
    ended = forked.run([word.format(home=home) for word in words])
    assert ended.code == 0, ended.text


def _steps() -> list[Step]:
    drive = {"avatar": "{home}/a.avatar.npz", "performance": "{home}/clip"}
    tracks = ["track", "--refine", "none"]
    drive_words = ["{home}/a.avatar.npz", "-p", "{home}/clip"]
    imports = {"video": "{home}/v.mp4", "directory": "{home}/clip", "size": 64, "overwrite": True}
    return [
        Step("import", [*tracks, "{home}/v.mp4", "-o", "{home}/clip", "--size", "64", "--overwrite"],
             "import", imports, together="clip"),
        Step("track", [*tracks, "{home}/clip", "--focal", "60"], "track",
             {"directory": "{home}/clip", "refine": "none", "focal": 60.0}, together="clip"),
        Step("train", ["train", "{home}/clip", "-o", "{home}/a.avatar.npz", *_settings(TINY)], "train",
             {"directory": "{home}/clip", "output": "{home}/a.avatar.npz", "preset": "draft", "overrides": TINY,
              "device": "cpu"},
             free=("a.avatar.npz", "a.checkpoint.safetensors", "a.other-1.checkpoint.safetensors")),
        Step("render", ["render", *drive_words, "-o", "{home}/a.mp4", "--size", "64"], "render",
             {**drive, "output": "{home}/a.mp4", "width": 64, "height": 64}, free=("a.mp4",)),
        Step("export", ["export", *drive_words, "--ply", "{home}/a.ply", "--frame", "2"], "export",
             {**drive, "output": "{home}/a.ply", "frame": 2}, free=("a.ply",)),
    ]  # fmt: skip


def _settings(values: dict[str, Any]) -> list[str]:
    pairs = [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
    return ["--preset", "draft", "--device", "cpu", *pairs]


def _measure(step: Step, world: World, forked: Forked) -> None:
    """Run ``step`` undisturbed, twice: how long it takes, and what may be there afterwards."""
    step.states = [world.before]
    found = []
    for _ in range(2):
        home = world.home()
        ended = forked.run(step.command(home), watched=home)
        assert ended.code == 0, ended.text
        step.seconds = step.job_seconds = ended.seconds
        step.writes = ended.writes
        found.append(snapshot(home))
    step.states.append(_alike(*found))
    if step.name == "import":  # the command tracks as well; a kill may leave the import alone
        only = {name: digest for name, digest in found[0].items() if name.split("/")[-1] not in _TRACKED}
        step.states.append({name: digest for name, digest in only.items() if "/valid/" not in name})


_TRACKED = ("tracking.npz", "camera.json", "overlay.mp4")


def _alike(one: Snapshot, other: Snapshot) -> Snapshot:
    """What two runs make: "" for a file that is never twice the same."""
    return {name: digest if other.get(name) == digest else "" for name, digest in one.items()}


def shuffled_changes(share: Share, world: World) -> list[tuple[Step, int]]:
    """Every change on the disk that every command makes, in random order, the steps by turns: the first few of a short
    share lie anywhere."""
    orders = [(step, share.random.permutation(step.writes) + 1) for step in world.steps]
    most = max(step.writes for step in world.steps)
    return [(step, int(order[turn])) for turn in range(most) for step, order in orders if turn < step.writes]


def snapshot(home: Path) -> Snapshot:
    """All files but hidden ones."""
    return {
        path.relative_to(home).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(home.rglob("*"))
        if path.is_file() and not _hidden(path, home)
    }


def leftovers(home: Path) -> list[str]:
    """Hidden files and folders."""
    return [path.name for path in home.rglob(".*")]


def _hidden(path: Path, home: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(home).parts)


def judge(step: Step, world: World, home: Path) -> str:
    """What is wrong with what a stopped ``step`` left in ``home``: a sentence, empty where nothing is.

    A clip's folder is first judged as it lies there, if it says that it is whole, then as the next job opens it.
    """
    if step.together:
        clip = home / step.together
        if (clip / "clip.json").exists() and (clip / "tracking.npz").exists() and (wrong := _state(step, home)):
            return f"as it lay there: {wrong}"
        recover(clip)
        return _state(step, home)
    now = snapshot(home)
    if "checkpoint" in " ".join(step.free) and world.before["a.checkpoint.safetensors"] not in now.values():
        return "the earlier checkpoint is lost"
    for name, digest in world.before.items():
        if name not in step.free and now.get(name) != digest:
            return f"{name} was changed or lost"
        if name in step.free and digest not in now.values() and (wrong := _unreadable(home / name)):
            return f"{name} is {wrong}"
    for name in now.keys() - world.before.keys():
        if name not in step.free:
            return f"{name} appeared"
        if wrong := _unreadable(home / name):
            return f"{name} is {wrong}"
    return ""


def ended_well(step: Step, world: World, home: Path) -> str:
    """What is wrong after the step was run again to its end."""
    if wrong := judge(step, world, home):
        return wrong
    if step.together and snapshot(home).keys() == world.before.keys() and not _state(step, home, first=0, last=1):
        return "the next run left what was there before"
    name = step.free[0] if step.free else ""
    if name and snapshot(home)[name] == world.before[name]:
        return f"the next run left the earlier {name}"
    if left := leftovers(home):
        return f"the next run left {', '.join(left[:3])}"
    return ""


def settled(step: Step, world: World, home: Path, forked: Forked, when: str) -> str:
    """After a run that came to its end early: judge what lies there, give the same command again, judge. -> what is
    wrong, "" for nothing."""
    if wrong := judge(step, world, home):
        return f"{when}: {wrong}"
    again = forked.run(step.command(home))
    if again.code:
        return f"{when}: the next run ended with {again.code}: {again.text.strip().splitlines()[-1:]}"
    return ended_well(step, world, home)


def _state(step: Step, home: Path, first: int = 0, last: int | None = None) -> str:
    """How ``home`` differs from all states of the step; empty where it is one of them."""
    now, wrong = snapshot(home), []
    for state in step.states[first:last]:
        missing = [name for name in state if name not in now]
        more = [name for name in now if name not in state]
        other = [name for name, digest in state.items() if digest and now.get(name, digest) != digest]
        unread = [name for name, digest in state.items() if not digest and name in now and _unreadable(home / name)]
        if not (missing or more or other or unread):
            return ""
        wrong.append(f"missing {missing[:2]}, more {more[:2]}, other {other[:2]}, unreadable {unread[:2]}")
    return "a mixture: " + "; or ".join(wrong)


def _unreadable(path: Path) -> str:
    """Why a file is not whole, by its reader; empty where it is."""
    for ending, read in _READERS.items():
        if path.name.endswith(ending):
            try:
                read(path)
            except Exception as error:  # each reader has its own
                return f"not whole ({type(error).__name__}: {str(error)[:80]})"
            return ""
    return ""


def _read_npz(path: Path) -> None:
    with np.load(path) as archive:
        for name in archive.files:
            assert archive[name] is not None


def _read_checkpoint(path: Path) -> None:
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 (not a dict)
            file.get_tensor(name)


def _read_video(path: Path) -> None:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert sum(1 for _ in container.decode(video=0)) == stream.frames > 0


def _read_ply(path: Path) -> None:
    header, _, body = path.read_bytes().partition(b"end_header\n")
    count = int(header.split(b"element vertex ")[1].split()[0])
    assert len(body) == 4 * header.count(b"property float") * count > 0


_READERS: dict[str, Callable[[Path], object]] = {
    ".avatar.npz": load_avatar, ".npz": _read_npz, ".safetensors": _read_checkpoint, ".mp4": _read_video,
    ".ply": _read_ply, "clip.json": lambda path: Clip.open(path.parent),
}  # fmt: skip
