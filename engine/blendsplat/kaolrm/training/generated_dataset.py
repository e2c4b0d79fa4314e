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
from blendsplat.heads.model import HeadModel
from blendsplat.kaolrm.conventions import DISTANCE, FOCAL, PORTRAIT_FACE, canonical_viewmat, intrinsics
from blendsplat.kaolrm.training.augment import (
    ZOOM,
    framing_camera,
    on_white,
    photograph,
    premultiplied,
    turn_image,
    turned_camera,
)
from blendsplat.kaolrm.training.dataset_files import on_colour, read_rgba, read_viewmat
from blendsplat.kaolrm.training.generate import TRUTH, TRUTH_VERSION

WALL = 0.6
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

    def __init__(self, directory: Path | str, size: int = 224, face_share: float = PORTRAIT_FACE) -> None:
        """face_share: how much of an augmented portrait's height the 68 landmarks take, as fit-image will cut it."""
        self.directory, self.size, self.face_share = Path(directory), size, face_share
        self.notes: list[str] = []
        self.people: list[Path] = []
        self._truths: list[dict[str, np.ndarray]] = []
        self._heads: list[tuple[str, str]] = []  # name and model of everyone's head; of older data "" and ""
        for folder in sorted(path.parent for path in self.directory.glob("*/truth.npz")):
            try:
                meta, truth = read_npz(folder / "truth.npz", TRUTH, TRUTH_VERSION)
                self._truths.append({"focal": np.array(FOCAL, np.float32)} | truth)
                self._heads.append((str(meta.get("head", "")), str(meta.get("head_model", ""))))
                self.people.append(folder)
            except FormatError as error:
                self.notes.append(f"{folder.name} is left out: {error}")
        if not self.people:
            raise InputError(f"{self.directory} holds no generated people; make them with generate-heads.")

    def check_head(self, head: HeadModel) -> None:
        """Raise InputError naming the first person whose coefficients are of another head."""
        for folder, truth, (name, model) in zip(self.people, self._truths, self._heads, strict=True):
            counts = len(truth["shape"]), len(truth["expression"])
            same = not model or model == head.model_id
            if not same or counts != (head.shape_count, head.expression_count):
                raise InputError(
                    f"{folder} was generated with the head {name!r} ({counts[0]} shape and {counts[1]} expression "
                    f"parameters, model {model[:8] or 'unknown'}), not with {head.name!r} ({head.shape_count} and "
                    f"{head.expression_count}, model {head.model_id[:8]}); generate people with that head."
                )

    def views(self, first: int = 0, last: int | None = None, widest: float = 90.0) -> list[SourceView]:
        """The views of the people first .. last - 1 from cameras up to ``widest`` degrees to the side."""
        people = range(*slice(first, last).indices(len(self.people)))
        return [
            SourceView(person, view)
            for person in people
            for view, viewmat in enumerate(self._truths[person]["viewmats"])
            if widest >= 90 or abs(_side(viewmat)) <= widest
        ]

    def item(
        self, source: SourceView, rng: np.random.Generator | None = None, faults: bool = True
    ) -> tuple[np.ndarray, dict[str, Tensor]]:
        """One image float32 [S,S,3] on white and its coefficients. rng: framed as a fit frames it, with the faults of
        photographs unless these are not wanted; None: as rendered.

        Raises FormatError naming a picture that cannot be read.
        """
        folder, truth = self.people[source.person], self._truths[source.person]
        viewmat = read_viewmat(folder / "pose" / f"{source.view:03d}.npy")
        image = read_rgba(folder / "rgba" / f"{source.view:03d}.png", self.size)
        if rng is None:
            return on_colour(image, 1.0), canonical_truth(truth, viewmat)
        turn, zoom = self._framing(source, rng)
        pixels = turn_image(premultiplied(image), turn[:3, :3], intrinsics(self.size, float(truth["focal"])), zoom)
        picture = photograph(pixels, rng) if faults else on_white(pixels)
        return picture, zoomed(canonical_truth(truth, turn @ viewmat), zoom)

    def shown(self, source: SourceView) -> np.ndarray:
        """A view as it was rendered, uint8 [S,S,3] before a grey wall: for the landmark detector."""
        image = read_rgba(self.people[source.person] / "rgba" / f"{source.view:03d}.png", self.size)
        return (on_colour(image, WALL) * 255 + 0.5).astype(np.uint8)

    def _framing(self, source: SourceView, rng: np.random.Generator) -> tuple[np.ndarray, float]:
        """(turn of the camera [4,4], zoom): about fit-image's framing for portraits, the box's for the other data."""
        folder, truth = self.people[source.person], self._truths[source.person]
        focal = float(truth["focal"])
        turn, zoom = np.eye(4), 1.0
        if focal > 1:
            rendered = np.load(folder / "intrinsics.npy", allow_pickle=False)[2, 0]
            landmarks = truth["landmarks"][source.view] / rendered
            turn[:3, :3], zoom = framing_camera(landmarks, intrinsics(1, focal), self.face_share)
            zoom *= ZOOM ** rng.uniform(-1, 1)
        turn[:3, :3] = turned_camera(rng, focal) @ turn[:3, :3]
        return turn, zoom

    def batch(self, sources: list[SourceView], rng: np.random.Generator | None = None) -> TrueHeads:
        """Several items, stacked."""
        items = [self.item(source, rng) for source in sources]
        images = torch.from_numpy(np.stack([image for image, _ in items])).permute(0, 3, 1, 2).contiguous()
        return TrueHeads(images, {name: torch.stack([truth[name] for _, truth in items]) for name in COEFFICIENTS})


def _side(viewmat: np.ndarray) -> float:
    """Degrees to the side that a camera [4,4] looks from."""
    return float(np.degrees(np.arctan2(-viewmat[2, 0], -viewmat[2, 2])))


def zoomed(coefficients: dict[str, Tensor], zoom: float) -> dict[str, Tensor]:
    """Coefficients of the head as a longer lens shows it: seen from afar, it is as if the head had grown."""
    grown = {name: coefficients[name] * zoom for name in ("scale", "translation")}
    return {**coefficients, **grown}


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
