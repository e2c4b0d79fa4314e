# SPDX-License-Identifier: Apache-2.0
"""KaoLRM's multi-view data on disk as training items: a source view made canonical, and the head's true parameters.

Reads the published layout (see generate.py). A person whose files are damaged is named and left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from blendsplat.errors import FormatError, InputError
from blendsplat.files import read_npz
from blendsplat.geometry import matrix_to_rotvec, rotvec_to_matrix
from blendsplat.tracking.kaolrm.augment import photograph, turn_image, turned_camera
from blendsplat.tracking.kaolrm.frames_of_reference import (
    DISTANCE,
    FOCAL,
    canonical_viewmat,
    intrinsics,
)
from blendsplat.tracking.kaolrm.generate import TRUTH, TRUTH_VERSION
from blendsplat.tracking.kaolrm.pictures import on_colour, read_rgba, read_viewmat

COEFFICIENTS = ("shape", "expression", "pose", "scale", "translation")


@dataclass(frozen=True)
class SourceView:
    """One picture of one person: its folder's number among the people, and the view's number."""

    person: int
    view: int


@dataclass
class TrueHeads:
    """B source images [B,3,S,S] and the coefficients that ``regress`` should give for them, each [B,...]."""

    images: Tensor
    coefficients: dict[str, Tensor]


class GeneratedViews:
    """Every view of every generated person in a folder, with the truth in the canonical camera's frame."""

    def __init__(self, directory: Path | str, size: int = 224) -> None:
        self.directory, self.size = Path(directory), size
        self.notes: list[str] = []
        self.people: list[Path] = []
        self._truths: list[dict[str, np.ndarray]] = []
        for folder in sorted(path.parent for path in self.directory.glob("*/truth.npz")):
            try:
                truth = read_npz(folder / "truth.npz", TRUTH, TRUTH_VERSION)[1]
                self._truths.append({"focal": np.array(FOCAL, np.float32)} | truth)
                self.people.append(folder)
            except FormatError as error:
                self.notes.append(f"{folder.name} is left out: {error}")
        if not self.people:
            raise InputError(f"{self.directory} holds no generated people; make them with generate-heads.")

    def views(self, first: int = 0, last: int | None = None) -> list[SourceView]:
        """All views of the people first .. last - 1."""
        people = range(*slice(first, last).indices(len(self.people)))
        return [SourceView(p, v) for p in people for v in range(len(self._truths[p]["viewmats"]))]

    def item(self, source: SourceView, rng: np.random.Generator | None = None) -> tuple[np.ndarray, dict[str, Tensor]]:
        """One image float32 [S,S,3] on white and its coefficients. rng: augment; None: as rendered.

        Raises FormatError naming a picture that cannot be read.
        """
        folder, truth = self.people[source.person], self._truths[source.person]
        viewmat = read_viewmat(folder / "pose" / f"{source.view:03d}.npy")
        image = read_rgba(folder / "rgba" / f"{source.view:03d}.png", self.size)
        if rng is None:
            return on_colour(image, 1.0), canonical_truth(truth, viewmat)
        focal = float(truth["focal"])
        turn = np.eye(4)
        turn[:3, :3] = turned_camera(rng, focal)
        image = turn_image(image, turn[:3, :3], intrinsics(self.size, focal))
        return photograph(image, rng).astype(np.float32), canonical_truth(truth, turn @ viewmat)

    def batch(self, sources: list[SourceView], rng: np.random.Generator | None = None) -> TrueHeads:
        """Several items, stacked."""
        items = [self.item(source, rng) for source in sources]
        images = torch.from_numpy(np.stack([image for image, _ in items])).permute(0, 3, 1, 2).contiguous()
        return TrueHeads(images, {name: torch.stack([truth[name] for _, truth in items]) for name in COEFFICIENTS})


def canonical_truth(truth: dict[str, np.ndarray], viewmat: np.ndarray) -> dict[str, Tensor]:
    """A person's parameters once the world has been moved and scaled so that the camera is the canonical one.

    The published training moves the camera to the axis at its own distance; one answer per image needs one distance, so
    here the world is scaled as well: to the camera's distance from the origin or, for portraits (focal above 1), so
    that the translation's z is 0, as such models take it (head_vertices).
    """
    root = rotvec_to_matrix(torch.from_numpy(truth["pose"][:3]).double()).numpy()
    joint = float(truth["scale"]) * truth["root_joint"].astype(np.float64)
    seen = viewmat[:3, :3] @ (joint + truth["translation"]) + viewmat[:3, 3]
    factor = DISTANCE / (seen[2] + joint[2] if truth["focal"] > 1 else np.linalg.norm(viewmat[:3, 3]))
    upright = canonical_viewmat()[:3, :3]  # its own inverse
    turn = matrix_to_rotvec(torch.from_numpy(upright @ viewmat[:3, :3] @ root)).float()
    translation = factor * (upright @ seen - joint) + np.array([0, 0, DISTANCE])
    return {
        "shape": torch.from_numpy(truth["shape"]),
        "expression": torch.from_numpy(truth["expression"]),
        "pose": torch.cat([turn, torch.from_numpy(truth["pose"][3:])]),
        "scale": torch.tensor([float(truth["scale"]) * factor], dtype=torch.float32),
        "translation": torch.from_numpy(translation).float(),
    }
