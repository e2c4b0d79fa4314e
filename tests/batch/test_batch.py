# SPDX-License-Identifier: Apache-2.0
"""A batch of clips whose jobs take moments (stand_in_worker.py): what is made, kept, made again, lost and named."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from batch_folder import WORK, Batch, wait_for
from blendsplat.batch import child, worker
from blendsplat.batch.child import Child
from blendsplat.batch.local import run_local
from blendsplat.batch.make import Outcome
from blendsplat.batch.recipe import Recipe
from blendsplat.batch.record import Record
from blendsplat.batch.run import exit_code, fitting_workers
from blendsplat.commands.batch import remarks, table_of
from blendsplat.errors import BlendsplatError, Cancelled
from blendsplat.progress import Progress

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in kills itself by a POSIX signal")


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    return Batch(tmp_path)


def test_a_clip_that_fails_is_named_and_a_worker_that_dies_is_started_again(batch: Batch) -> None:
    """Then nothing is done twice, and again only what has changed."""
    batch.add("ann", steps=4)
    batch.add("ben", fail="import")
    batch.add("cat", die=1, steps=6)
    batch.add("dan", die=9)
    batch.add("eve", fail="track")
    result = batch.run(workers=3)
    assert batch.states(result) == {"ann": "made", "ben": "failed", "cat": "made", "dan": "failed", "eve": "failed"}
    rows = {row["clip"]: row for row in result["clips"]}
    assert "No face was found in" in rows["ben"]["problem"] and rows["ben"]["exit_code"] == 3
    assert "died twice (SIGKILL" in rows["dan"]["problem"] and "dan.log" in rows["dan"]["problem"]
    assert "a fault of ours" in rows["eve"]["problem"] and rows["eve"]["exit_code"] == 70
    assert rows["cat"]["attempts"] == 2 and rows["ann"]["attempts"] == 1
    assert rows["ann"]["psnr"] == 28.5 and set(rows["ann"]["seconds"]) == {"import", "track", "train"}
    assert rows["ann"]["notes"] == ["Two people are in it."]
    assert result["exit_code"] == 1 and (result["made"], result["failed"]) == (2, 3)
    assert json.loads((batch.output / "batch" / "result.json").read_text()) == result
    batch.check_whole("ann", "cat")
    assert not (batch.output / "dan.avatar.npz").exists()
    # what was done before the death is not done again, and the training goes on from its checkpoint
    assert batch.calls["cat import"] == batch.calls["cat track"] == 1 and batch.calls["cat train"] == 2
    assert batch.trained_from("cat") == 3
    log = (batch.output / "batch" / "dan.log").read_text()
    assert "The worker ended: SIGKILL" in log and "noise of a careless library" in log
    assert "ZeroDivisionError" in (batch.output / "batch" / "eve.log").read_text()

    before = batch.calls
    batch.add("ann", steps=4, shows="another face")
    batch.add("ben", steps=2)
    again = batch.run()
    assert batch.states(again) == {"ann": "made", "ben": "made", "cat": "kept", "dan": "failed", "eve": "failed"}
    new = batch.calls - before
    assert {name.split()[0] for name in new} == {"ann", "ben", "dan", "eve"} and new["ann import"] == 1
    assert {row["clip"]: row["psnr"] for row in again["clips"]}["cat"] == 28.5  # of the run that made it
    batch.add("ann", fail="import")
    ann = batch.run()["clips"][0]
    assert ann["state"] == "failed" and (ann["psnr"], ann["seconds"]) == (None, {})  # nothing of the avatar before
    batch.check_whole("ann")


def test_what_is_made_again(batch: Batch) -> None:
    batch.add("ann")
    batch.run()

    def stages(recipe: Recipe | None = None) -> set[str]:
        before = batch.calls
        batch.run(recipe=recipe)
        return {line.split()[1] for line in batch.calls - before}

    assert stages() == set()
    os.utime(batch.clips / "ann.mp4", (1, 1))  # copied: the same video
    assert stages() == set()
    other = replace(WORK.recipe, identity={"images": 9})
    assert stages(other) == {"train"} and stages(other) == set()
    flame = replace(other, track={"head": "flame"})
    assert stages(flame) == {"track", "train"}
    small = replace(flame, imports={"size": 256})
    assert stages(small) == {"import", "track"} and stages(small) == set()  # and what was tracked is the same again
    folder = batch.units["ann"].folder
    (folder / "tracking.npz").write_bytes(b"corrected by hand")
    assert stages(small) == {"train"}
    (batch.output / "ann.avatar.npz").write_bytes(b"PK half of it")
    assert stages(small) == {"train"}
    (folder / "corrections.npz").write_bytes(b"an evening's work")
    batch.add("ann", shows="another take")
    assert stages(small) == {"import", "track", "train"} and stages(small) == set()
    aside = folder.with_name("ann.before-1")
    assert (aside / "corrections.npz").read_bytes() == b"an evening's work"
    assert (aside / "tracking.npz").read_bytes() == b"corrected by hand"


def test_a_video_that_is_still_being_copied(batch: Batch) -> None:
    batch.add("ann", grows=True)
    result = batch.run()
    assert batch.states(result) == {"ann": "failed"} and "changed while it was read" in result["clips"][0]["problem"]
    assert batch.calls == {"ann import": 1}


def test_clips_of_others_stay(batch: Batch) -> None:
    """A tracked clip is used where it is; a clip folder that no batch made is not written over."""
    tracked, mine = batch.clips / "tracked", batch.output / "clips" / "ann"
    for folder, source in ((tracked, "x.mp4"), (mine, "of another.mp4")):
        folder.mkdir(parents=True)
        (folder / "clip.json").write_text(json.dumps({"source": source}))
        (folder / "tracking.npz").write_bytes(b"the user's")
    batch.add("ann")
    result = batch.run()
    assert batch.states(result) == {"ann": "failed", "tracked": "made"}
    assert "of another.mp4" in result["clips"][0]["problem"] and result["exit_code"] == 2
    assert (mine / "tracking.npz").read_bytes() == (tracked / "tracking.npz").read_bytes() == b"the user's"
    assert not (batch.output / "clips" / "tracked").exists() and set(batch.calls) == {"tracked train"}
    (mine / "clip.json").write_text(json.dumps({"source": str(batch.clips / "ann.mp4")}))  # imported there by hand
    assert batch.states(batch.run()) == {"ann": "made", "tracked": "kept"}
    assert (mine / "tracking.npz").read_bytes() == b"the user's" and "ann import" not in batch.calls


def test_a_killed_worker_loses_nothing(batch: Batch) -> None:
    """From outside, as the system or a colleague does: at a moment that nobody has chosen."""
    batch.add("ann", steps=100)
    batch.add("ben", steps=30)
    killed: list[int] = []

    def kill() -> None:
        wait_for(lambda: batch.steps("ann") > 20)
        killed.append(batch.process("ann"))
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    result = batch.run()
    killer.join()
    assert killed and batch.states(result) == {"ann": "made", "ben": "made"} and result["exit_code"] == 0
    assert [row["attempts"] for row in result["clips"]] == [2, 1]
    batch.check_whole("ann", "ben")
    assert batch.calls == {
        "ann import": 1, "ann track": 1, "ann train": 2, "ben import": 1, "ben track": 1, "ben train": 1,
    }  # fmt: skip
    assert batch.trained_from("ann") > 20


def test_ctrl_c_leaves_what_the_same_command_continues(batch: Batch) -> None:
    batch.add("ann", steps=100)
    batch.add("ben")
    batch.add("cat")

    class Impatient(Progress):
        def update(self, stage: str, done: float, total: float, message: str = "", **figures: float) -> None:
            if batch.steps("ann") > 0:
                self.cancelled = True

    result = batch.run(Impatient(), workers=1)
    assert set(batch.states(result).values()) == {"cancelled"} and result["exit_code"] == Cancelled.exit_code
    assert "ann" in {line.split()[0] for line in batch.calls} and "cat import" not in batch.calls
    assert 0 < batch.steps("ann") < 100
    again = batch.run()
    assert again["made"] == 3 and again["exit_code"] == 0
    assert batch.calls["ann import"] == 1 and batch.calls["ann train"] == 2


def test_a_worker_whose_batch_is_gone_keeps_what_there_is_and_ends(batch: Batch) -> None:
    """The batch is killed: the worker's input ends, and the next batch waits for its lock."""
    batch.add("ann", steps=500)
    unit = batch.units["ann"]
    one = Child(unit, WORK)
    outcomes: list[Outcome] = []
    thread = threading.Thread(target=lambda: outcomes.append(one.run()))
    thread.start()
    wait_for(lambda: batch.steps("ann") > 0)
    with (
        pytest.raises(BlendsplatError, match=r"Another batch is making this avatar \(process \d+ on"),
        worker.alone(unit.lock, Progress(), patience=0.0),
    ):
        pass
    one.stop()
    thread.join(30)
    assert outcomes[0].state == "cancelled" and batch.steps("ann") > 0
    with worker.alone(unit.lock, Progress(), patience=0.0):
        pass


def test_closing_kills_at_once(batch: Batch) -> None:
    """A second Ctrl-C, which ends the loop over the events."""
    batch.add("ann", steps=3000)
    events = run_local(list(batch.units.values()), WORK, 1, ["cpu"], lambda: False)
    next(event for event in events if event.stage == "train")
    process = batch.process("ann")
    events.close()  # type: ignore[attr-defined]
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
    assert not (batch.output / "ann.avatar.npz").exists() and "train" in Record(batch.units["ann"].record).stages


def test_a_damaged_record_is_none(tmp_path: Path) -> None:
    for text in ("", "{", "[]", '{"format": "blendsplat-batch", "version": 1, "stages": {"train": 3}}',
                 '{"format": "blendsplat-batch", "version": 99, "stages": {"train": {"done": true}}}'):  # fmt: skip
        (tmp_path / "a.json").write_text(text)
        assert Record(tmp_path / "a.json").stages == {}


def row(state: str, code: int = 0) -> Outcome:
    return Outcome("a", "a.mp4", "a.avatar.npz", state, exit_code=code)  # type: ignore[arg-type]


def test_exit_codes() -> None:
    made, no_face, cancelled = row("made"), row("failed", 3), row("cancelled", 130)
    assert exit_code([made, row("kept")]) == 0 and exit_code([made, no_face, no_face]) == 3
    assert exit_code([no_face, row("failed", 70)]) == 1 and exit_code([no_face, cancelled]) == 130
    assert exit_code([]) == 0


def test_how_many_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blendsplat.batch.run.cores", lambda: 16)
    assert [fitting_workers(clips, 1, False) for clips in (1, 5, 50)] == [1, 5, 8]
    assert fitting_workers(50, 4, True) == 4
    monkeypatch.setattr("blendsplat.batch.run.cores", lambda: 1)
    assert fitting_workers(50, 1, False) == 1


def test_the_table_tells_in_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    rows = [
        {
            **row("made").as_json(),
            "clip": "ann",
            "seconds": {"track": 12.34, "train": 61},
            "psnr": 28.46,
            "attempts": 2,
        },
        {**row("failed", 3).as_json(), "clip": "ben [x]", "problem": "No face was found in ben.mp4."},
    ]  # fmt: skip
    Console(width=100).print(table_of(rows))
    shown = capsys.readouterr().out
    first, second = ([line for line in shown.splitlines() if name in line] for name in ("ann", "ben [x]"))
    assert all(word in first[0] for word in ("made", "12.3", "61.0", "28.5", "a.avatar.npz"))
    assert "failed" in second[0] and "a.avatar.npz" not in second[0]
    assert remarks(rows) == ["ann: Its worker died and was started again.", "ben [x]: No face was found in ben.mp4."]


def test_how_it_ended() -> None:
    assert child.how_it_ended(3) == "exit code 3" and child.how_it_ended(-999) == "signal 999"
    assert child.how_it_ended(-9) == "SIGKILL, as when the memory runs out" and child.how_it_ended(-15) == "SIGTERM"
