# SPDX-License-Identifier: Apache-2.0
"""Random people of the source's phenotypes and local changes, and the principal directions of their heads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from blendsplat.evaluation.scan_metrics import similarity
from tools.bake_head.assemble import Assembly
from tools.bake_head.makehuman import AGES, GENDERS, HEIGHTS, MUSCLES, PROPORTIONS, RACES, WEIGHTS, MakeHuman

PEOPLE = 1600
LOCAL_SPREAD = 0.17  # of a local change; at 0.28 people are caricatures, phenotypes alone look too alike
SIDE_SPREAD, ASYMMETRY_SPREAD = 0.05, 0.06
# 0 a baby of a year, 1 a child of about eleven, 2 a young adult, 3 old
CHILD_AGE, ADULT_AGE = (0.35, 0.75), (1.86, 3.0)
# local changes that put the head elsewhere on the neck, which is a pose
POSES = ("head-trans", "neck-trans", "head-angle")

Rng = np.random.Generator


@dataclass
class Changes:
    """The source's targets on the head: [...,V,3], mm."""

    terms: list[frozenset[str]]
    phenotypes: np.ndarray  # [M,V,3]
    names: list[str]
    local: np.ndarray  # [L,2,V,3]
    asymmetries: np.ndarray  # [A,V,3]
    outlines: np.ndarray  # [7,V,3]


def read_changes(source: MakeHuman, head: Assembly) -> Changes:
    """All of the source's identity targets."""
    terms, phenotypes = source.phenotypes()
    names, local = source.local_changes()
    moved = head.moved(local.reshape(-1, *local.shape[2:]))
    return Changes(
        terms, head.moved(phenotypes), names, moved.reshape(len(names), 2, -1, 3),
        head.moved(source.asymmetries()), head.moved(source.outlines()),
    )  # fmt: skip


@dataclass
class Recipe:
    """One person: phenotypes in [0,1] (age: see ADULT_AGE), local changes [L] in [-1,1], one-sided [A], outlines."""

    gender: float
    age: float
    muscle: float
    weight: float
    height: float
    proportions: float
    race: np.ndarray  # [3], sums to 1
    local: np.ndarray
    asymmetries: np.ndarray
    outlines: np.ndarray


def draw_recipe(changes: Changes, rng: Rng, age: tuple[float, float] = ADULT_AGE) -> Recipe:
    """A random person of an age; both sides of the face much alike."""
    local = np.zeros(len(changes.names))
    drawn: dict[str, float] = {}
    for number, name in enumerate(changes.names):
        pair = name[2:] if name[:2] in ("l-", "r-") else ""
        value = drawn.setdefault(pair, rng.normal() * LOCAL_SPREAD) if pair else rng.normal() * LOCAL_SPREAD
        if pair:
            value += rng.normal() * SIDE_SPREAD
        local[number] = 0.0 if name.startswith(POSES) else np.clip(value, -1, 1)
    outlines = np.zeros(len(changes.outlines))
    outlines[rng.integers(len(outlines))] = rng.uniform(0, 0.4)
    return Recipe(
        gender=float(np.clip(rng.choice([0.12, 0.88]) + rng.normal() * 0.12, 0, 1)),
        age=float(rng.uniform(*age)),
        muscle=float(rng.beta(3, 3)), weight=float(rng.beta(3, 3)),
        height=float(rng.beta(3, 3)), proportions=float(rng.beta(3, 3)),
        race=rng.dirichlet([0.45] * 3),
        local=local,
        asymmetries=np.clip(rng.normal(size=len(changes.asymmetries)) * ASYMMETRY_SPREAD, 0, 0.5),
        outlines=outlines,
    )  # fmt: skip


def displacement(changes: Changes, recipe: Recipe) -> np.ndarray:
    """A person's displacement of the base head [V,3], mm."""
    values: dict[str, float] = dict(zip(RACES, recipe.race, strict=True))
    for names, at in (
        (AGES, recipe.age / (len(AGES) - 1)), (GENDERS, recipe.gender), (MUSCLES, recipe.muscle),
        (WEIGHTS, recipe.weight), (HEIGHTS, recipe.height), (PROPORTIONS, recipe.proportions),
    ):  # fmt: skip
        values |= _between(names, at)
    factors = np.array([np.prod([values[v] for v in term]) for term in changes.terms], np.float32)
    moved = np.tensordot(factors, changes.phenotypes, 1)
    more, less = np.clip(recipe.local, 0, 1), np.clip(-recipe.local, 0, 1)
    moved += np.tensordot(more.astype(np.float32), changes.local[:, 0], 1)
    moved += np.tensordot(less.astype(np.float32), changes.local[:, 1], 1)
    moved += np.tensordot(recipe.asymmetries.astype(np.float32), changes.asymmetries, 1)
    return np.asarray(moved + np.tensordot(recipe.outlines.astype(np.float32), changes.outlines, 1))


def _between(names: tuple[str, ...], at: float) -> dict[str, float]:
    """Linear weights of the two nearest of evenly spaced values."""
    place = float(np.clip(at, 0, 1)) * (len(names) - 1)
    low = min(int(place), len(names) - 2)
    weights = dict.fromkeys(names, 0.0)
    weights[names[low]], weights[names[low + 1]] = 1 - (place - low), place - low
    return weights


@dataclass
class Faces:
    """The space of people: V vertices, K directions of unit variance, mm."""

    mean: np.ndarray  # [V,3]
    directions: np.ndarray  # [K,V,3]
    child: np.ndarray  # [V,3]: from the mean adult to the mean child, sizes made alike


def sample_faces(
    changes: Changes, base: np.ndarray, finish: Callable[[np.ndarray], np.ndarray], face: np.ndarray, count: int
) -> Faces:
    """Principal components of PEOPLE adults.

    base [V,3]; finish: what is done to every head's vertices (closing the lips); face: the vertices by which heads are
    laid over each other, in place, turn and size, and which count fully (the others three tenths).
    """
    rng = np.random.default_rng(0)
    heads = np.stack([finish(base + displacement(changes, draw_recipe(changes, rng))) for _ in range(PEOPLE)])
    heads = heads.astype(np.float32)
    mean = heads.mean(0)
    for _ in range(3):
        for number, head in enumerate(heads):
            heads[number] = aligned(head, mean, face)
        mean = heads.mean(0)
    away = heads - mean
    weight = np.full(len(mean), 0.3, np.float32)
    weight[face] = 1
    flat = (away * weight[None, :, None]).reshape(PEOPLE, -1)
    values, vectors = np.linalg.eigh((flat @ flat.T).astype(np.float64))
    best = vectors[:, ::-1][:, :count]
    best = best * np.where(best[np.abs(best).argmax(0), np.arange(count)] < 0, -1, 1)  # a sign of its own
    directions = np.tensordot(best.T / np.sqrt(PEOPLE), away, 1)
    print(f"{count} of {PEOPLE} directions hold {values[::-1][:count].sum() / values.sum():.4f} of the variance")
    young = [finish(base + displacement(changes, draw_recipe(changes, rng, CHILD_AGE))) for _ in range(150)]
    child = np.mean([aligned(head, mean, face) for head in young], 0) - mean
    return Faces(mean, directions, child)


def aligned(head: np.ndarray, target: np.ndarray, face: np.ndarray) -> np.ndarray:
    """A head [V,3] laid over another by the vertices ``face``."""
    scale, turn, shift = similarity(head[face], target[face])
    return np.asarray(scale * head @ turn.T + shift)
