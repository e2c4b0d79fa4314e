# SPDX-License-Identifier: Apache-2.0
"""Threads of every kind: the kernels' own, several of Python's at once, and a forked child.

Supported: any number of kernel threads, calls from several Python threads at once, spawned processes. After a fork the
OpenMP runtime's threads are gone, so the child must stay at one thread (torch.set_num_threads(1), as torch's own data
loaders do); more would wait for ever, as with torch's own operations.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from blendsplat.splatting import rasterize_gaussians

from .kernels import CPU_SETS, Kernels, choose_kernels
from .oracle import expect, judge
from .scenes import random_scene

BOUND = 32.0  # units of error, see test_soak.py


def gradient_weights(scene, seed=3):
    g = torch.Generator().manual_seed(seed)
    shape = (scene.viewmats.shape[0], scene.height, scene.width)
    return [torch.randn(*shape, channels, generator=g) for channels in (3, 1, 1)]


@pytest.mark.parametrize("name", CPU_SETS)
@pytest.mark.parametrize("images", [1, 5])
def test_numbers_of_threads(name, images, set_threads, instruction_set_kept, monkeypatch):
    """Images are the same to the bit. Gradients are sums over tiles, cut into as many runs as there are threads: each
    number of threads meets the oracle, and they differ by less than a few units of rounding."""
    kernels = choose_kernels(name, monkeypatch)
    if kernels is None:
        pytest.skip(f"no {name} on this machine or in this build")
    scene = random_scene(images=images, gaussians=150, width=50, height=37, seed=140)
    expected = expect(scene)
    found = []
    for threads in (1, 2, 3, 7):
        set_threads(threads)
        verdict = judge(expected, scene, kernels.gradients, BOUND)
        assert max(verdict.worst.values()) <= BOUND and not verdict.unexplained, (threads, verdict)
        found.append(kernels.gradients(scene, expected.weights))
    for outputs, grads in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(outputs, found[0][0], strict=True))
        for grad, first, unit in zip(grads, found[0][1], expected.grad_units, strict=True):
            assert ((grad - first).double().abs() <= 8 * unit).all()


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_number_of_threads_gives_the_same_bits(threads, set_threads):
    """Nothing depends on which thread was faster."""
    set_threads(threads)
    scene = random_scene(images=3, gaussians=400, width=64, height=64, seed=141)
    kernels, weights = Kernels("default", "cpu"), gradient_weights(scene)
    first = kernels.gradients(scene, weights)
    for _ in range(20):
        again = kernels.gradients(scene, weights)
        for a, b in zip((*first[0], *first[1]), (*again[0], *again[1]), strict=True):
            assert torch.equal(a, b)


def test_several_python_threads_at_once():
    """Scratch is each thread's own: sixteen different scenes, eight threads, the numbers of one after the other."""
    kernels = Kernels("default", "cpu")
    scenes = [
        random_scene(images=1 + i % 3, gaussians=20 + 37 * i, width=17 + 5 * i, height=40, seed=150 + i)
        for i in range(16)
    ]

    def work(i):
        torch.set_num_threads(2)  # in a new thread OpenMP starts from its own default
        return kernels.gradients(scenes[i], gradient_weights(scenes[i]))

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        alone = [kernels.gradients(scene, gradient_weights(scene)) for scene in scenes]
        with ThreadPoolExecutor(8) as pool:
            for _ in range(3):
                for (outputs, grads), (want, want_grads) in zip(pool.map(work, range(16)), alone, strict=True):
                    assert all(torch.equal(a, b) for a, b in zip(outputs, want, strict=True))
                    assert all(torch.equal(a, b) for a, b in zip(grads, want_grads, strict=True))
    finally:
        torch.set_num_threads(before)


def test_passes_that_overlap():
    """Two forward passes, then their backward passes in the same and in the other order, as autograd may call them."""
    scenes = [random_scene(images=2, gaussians=50 + 40 * i, width=30, height=20 + i, seed=160 + i) for i in range(2)]
    kernels = Kernels("default", "cpu")
    alone = [kernels.gradients(scene, gradient_weights(scene))[1] for scene in scenes]
    for order in ((0, 1), (1, 0)):
        leaves, outputs = [], []
        for scene in scenes:
            leaves.append([t.detach().clone().requires_grad_() for t in (*scene.gaussians, scene.backgrounds)])
            *gaussians, background = leaves[-1]
            view = (scene.viewmats, scene.Ks, scene.width, scene.height)
            outputs.append(rasterize_gaussians(*gaussians, *view, background))
        for i in order:
            torch.autograd.backward(outputs[i], gradient_weights(scenes[i]))
        for got, want in zip(leaves, alone, strict=True):
            assert all(torch.equal(leaf.grad, grad) for leaf, grad in zip(got, want, strict=True))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_with_one_thread():
    """In a process of its own: forking this one would copy the threads' locks of everything tested before."""
    script = """
        import os, torch
        from blendsplat.splatting import rasterize_gaussians

        def picture():
            g = torch.Generator().manual_seed(0)
            means = torch.randn(1, 500, 3, generator=g) + torch.tensor([0.0, 0, 4])
            rest = [torch.rand(1, 500, n, generator=g) for n in (4, 3, 3)]
            K = torch.tensor([[[40.0, 0, 20], [0, 40, 20], [0, 0, 1]]])
            leaf = means.requires_grad_()
            image = rasterize_gaussians(
                leaf, rest[0], 0.1 * rest[1], torch.full((1, 500), 0.5), rest[2], torch.eye(4)[None], K, 40, 40)[0]
            image.sum().backward()
            return image.detach(), leaf.grad

        torch.set_num_threads(2)
        wanted = picture()
        child = os.fork()
        if child == 0:
            torch.set_num_threads(1)
            image, grad = picture()
            same = torch.equal(image, wanted[0]) and (grad - wanted[1]).abs().max() < 1e-4
            os._exit(0 if same else 3)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0, status
        assert torch.equal(picture()[0], wanted[0])
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, timeout=120)
