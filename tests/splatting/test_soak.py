# SPDX-License-Identifier: Apache-2.0
"""Random scenes of every kind against the float64 oracle: fifty in each run, a thousand with ``-m soak``.

The bound: 32 units of error (see oracle.py); a unit is four roundings of every input and every exponent's terms. From
parameter to pixel and back is a chain of some hundred operations whose errors add up with signs. Measured over 1,000
scenes: at most 15, for gradients of needles' scales; the typical worst of a scene is 1 to 5.
"""

from __future__ import annotations

import pytest

from .kernels import Kernels, choose_kernels
from .oracle import Verdict, expect, judge, some_pixels
from .scenes import wild_scene

BOUND = 32.0
NEAR_PLANE = 0.2
PIXELS = 600  # of each image at most
HOST = ("avx512", "avx2", "generic", "scalar", "emulated")
GROUPS = [pytest.param(HOST, id="host"), pytest.param(("cuda",), id="cuda", marks=pytest.mark.gpu)]


def check(group: tuple[str, ...], seeds: range, patch: pytest.MonkeyPatch) -> None:
    """Each scene's oracle once, for all kernels of the group that are here."""
    totals: dict[str, Verdict] = {}
    for seed in seeds:
        scene = wild_scene(seed)
        expected = expect(scene, seed, some_pixels(scene, PIXELS, seed), NEAR_PLANE)
        for name in group:
            if name == "emulated" and seed % 10:  # a thread at a time: every tenth is enough
                continue
            with patch.context() as undo:
                kernels = choose_kernels(name, undo)
                if kernels is not None:
                    add(totals, kernels, judge(expected, scene, kernels.gradients, BOUND), seed)
    if not totals:
        pytest.skip(f"none of {group} is here")
    for name, total in totals.items():
        print(f"{name}: {len(seeds)} scenes, {total.doubtful} pixels in doubt, worst errors in units {total.worst}")


def add(totals: dict[str, Verdict], kernels: Kernels, verdict: Verdict, seed: int) -> None:
    assert max(verdict.worst.values()) <= BOUND, f"scene {seed} with {kernels.name}: {verdict}"
    assert verdict.unexplained == 0, f"scene {seed} with {kernels.name}: a pixel in doubt took no possible value"
    total = totals.setdefault(kernels.name, Verdict({}, 0, 0))
    total.doubtful += verdict.doubtful
    for name, worst in verdict.worst.items():
        total.worst[name] = max(round(worst, 1), total.worst.get(name, 0.0))


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("block", range(5))
def test_fifty_scenes(group, block, monkeypatch, instruction_set_kept) -> None:
    check(group, range(10 * block, 10 * block + 10), monkeypatch)


@pytest.mark.soak
@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("block", range(10))
def test_a_thousand_scenes(group, block, monkeypatch, instruction_set_kept) -> None:
    check(group, range(1000 + 100 * block, 1100 + 100 * block), monkeypatch)
