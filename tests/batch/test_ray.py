# SPDX-License-Identifier: Apache-2.0
"""The same batch by Ray, on a cluster of this machine alone: a task whose process is killed, and Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from batch_folder import WORK, Batch, wait_for
from blendsplat.batch import ray_cluster
from blendsplat.batch.run import Machines, run_batch
from blendsplat.errors import InputError
from blendsplat.progress import Progress

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="who is whose parent is read from /proc")


def parent_of(process: int) -> int:
    status = Path(f"/proc/{process}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("PPid:")).split()[1])


@LINUX
@pytest.mark.slow
def test_a_lost_task_is_made_again_and_ctrl_c_leaves_what_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray", reason="Ray is not installed (pip install ray)")
    package = str(Path(ray_cluster.__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH")))))
    monkeypatch.setattr(ray_cluster, "cores", lambda: 2)
    batch, killed = Batch(tmp_path), []
    batch.add("ann", steps=80)
    batch.add("ben", fail="import")
    batch.add("cat", steps=100_000)

    def kill() -> None:
        """Ray's own worker, as when its machine is lost; the clip's process finds its input ended."""
        wait_for(lambda: batch.steps("ann") > 10)
        killed.append(parent_of(batch.process("ann")))
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    machines, progress = Machines(ray="local"), Progress()
    watch = threading.Thread(target=_ctrl_c, args=(batch, progress), daemon=True)
    watch.start()
    result = run_batch(list(batch.units.values()), WORK, machines, progress)
    killer.join()
    rows = {row["clip"]: row for row in result["clips"]}
    assert killed and killed[0] != os.getpid()
    assert {name: row["state"] for name, row in rows.items()} == {"ann": "made", "ben": "failed", "cat": "cancelled"}
    assert batch.trained_from("ann") > 10 and batch.calls["ann import"] == 1 and batch.calls["ann train"] == 2
    batch.check_whole("ann")
    assert rows["ben"]["code"] == "no-face" and result["exit_code"] == 130
    assert 0 < batch.steps("cat") < 100_000  # its checkpoint is there
    assert not ray.is_initialized()


def _ctrl_c(batch: Batch, progress: Progress) -> None:
    """Ctrl-C once the two others have come to their end."""
    ended = (batch.output / "ann.avatar.npz").exists
    wait_for(lambda: ended() and batch.steps("cat") > 0, 120)
    time.sleep(1.5)  # for their rows
    progress.cancelled = True


def test_without_ray_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Batch(tmp_path)
    batch.add("ann")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'ray>=2.9'.* without --ray the clips are made by this machine"):
        run_batch(list(batch.units.values()), WORK, Machines(ray="local"), Progress())


def test_an_address_at_which_nobody_listens_is_told_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]  # bound, and nobody listens
        for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}", "127.0.0.1:99999"):
            with pytest.raises(InputError, match=r"No Ray answers at .* use --ray local"):
                ray_cluster.check_answers(address)
        free.listen()
        ray_cluster.check_answers(f"127.0.0.1:{port}")
    ray_cluster.check_answers("auto")


class Cluster:
    """What of Ray tells its machines."""

    def __init__(self, *processors: int) -> None:
        self.processors = processors

    def nodes(self) -> list[dict[str, Any]]:
        alive = [{"Alive": True, "Resources": {"CPU": float(count)} if count else {}} for count in self.processors]
        return [*alive, {"Alive": False, "Resources": {"CPU": 1.0}}]


@pytest.mark.parametrize(
    ("processors", "at_once", "threads"),
    [((2,), 2, 1), ((16,), 4, 4), ((16,), 1, 8), ((32, 32), 4, 8), ((4, 32), 2, 4), ((0, 6), 1, 6), ((2, 2), 50, 1)],
)
def test_processors_of_a_task(processors: tuple[int, ...], at_once: int, threads: int) -> None:
    assert ray_cluster.processors_of_a_task(Cluster(*processors), at_once) == threads


def test_what_no_machine_has_is_told() -> None:
    """Ray would wait for it for ever."""
    ray_cluster.check_machines(Cluster(4, 16), 16, 0)
    for cluster, threads, cards, words in (
        (Cluster(4, 16), 17, 0, "has 17 processors: add one"),
        (Cluster(4, 16), 2, 1, "2 processors and a graphics card"),
    ):
        with pytest.raises(InputError, match=words):
            ray_cluster.check_machines(cluster, threads, cards)
    with pytest.raises(InputError, match="no processors to give"):
        ray_cluster.processors_of_a_task(Cluster(0), 1)
