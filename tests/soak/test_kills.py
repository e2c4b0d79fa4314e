# SPDX-License-Identifier: Apache-2.0
"""A slice of the campaign's kills: a training that dies before changes on the disk, and what the judge sees."""

from __future__ import annotations

from pathlib import Path

import pytest

from soak.engines import Engine
from soak.forked import Forked
from soak.steps import Step, World, ended_well, judge, leftovers


def step_of(world: World, name: str) -> Step:
    return next(step for step in world.steps if step.name == name)


@pytest.mark.slow
@pytest.mark.parametrize("change", [0.3, 0.6, 0.9])
def test_a_training_killed_before_a_change_on_the_disk_goes_on(world: World, forked: Forked, change: float) -> None:
    step, home = step_of(world, "train"), world.home()
    killed = forked.run(step.command(home), watched=home, die_at=max(1, int(change * step.writes)))
    assert killed.code == -9, killed.text
    assert judge(step, world, home) == ""
    again = forked.run(step.command(home))
    assert again.code == 0, again.text
    assert ended_well(step, world, home) == ""


@pytest.mark.slow
def test_an_engine_killed_while_it_exports(world: World, forked: Forked, tmp_path: Path) -> None:
    step, home = step_of(world, "export"), world.home()
    engine = Engine(forked, tmp_path, watched=home, die_at=3)
    engine.start(step.kind, **step.job(home))
    assert engine.running.wait().code == -9
    assert judge(step, world, home) == "" and leftovers(home)
    engine = Engine(forked, tmp_path)
    assert engine.do(step.kind, step.job(home)) == ""
    engine.end()
    assert ended_well(step, world, home) == ""


@pytest.mark.slow
def test_the_judge_sees_what_is_half_written(world: World) -> None:
    train, export = step_of(world, "train"), step_of(world, "export")
    home = world.home()
    avatar = home / "a.avatar.npz"
    avatar.write_bytes(avatar.read_bytes()[:-2000])
    assert "a.avatar.npz is not whole" in judge(train, world, home)
    assert "a.avatar.npz was changed" in judge(export, world, home)
    home = world.home()
    (home / "a.checkpoint.safetensors").unlink()
    assert "checkpoint is lost" in judge(train, world, home)
    home = world.home()
    (home / "b.ply").write_bytes(b"")
    assert "b.ply appeared" in judge(export, world, home)
