# SPDX-License-Identifier: Apache-2.0
"""KaoLRM's two published data layouts as training items: a source picture on white, and the views it is compared with.

Multi-view: ``{uid}/rgba/000.png ..., {uid}/pose/000.npy ..., {uid}/intrinsics.npy, {uid}/lmks2d.npy``; monocular:
``rgba/{uid}.png, mask/{uid}.png, lmks.npz``. What is damaged is named and left out; parameters are not needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from blendsplat.errors import FormatError, InputError
from blendsplat.files import opened_npz
from blendsplat.kaolrm.conventions import camera_vector, canonical_viewmat, intrinsics, normalise_views
from blendsplat.kaolrm.training.dataset_files import on_colour, read_array, read_mask, read_rgba, read_viewmat

BACKGROUNDS = (0.0, 0.5, 1.0)  # grey levels behind the targets (published); the source stands on white
_FOCAL_TOLERANCE = 0.02
_READERS = 8  # threads that decode pictures
_BICUBIC = Image.Resampling.BICUBIC


@dataclass
class Views:
    """Sources of B people and V views of each, the source's own first. Without B: one person."""

    sources: Tensor  # [B,3,S,S] in [0,1], on white
    cameras: Tensor  # [B,16] the source's camera, as the network reads it
    targets: Tensor  # [B,V,T,T,3] over the backgrounds
    alphas: Tensor  # [B,V,T,T,1]
    backgrounds: Tensor  # [B,3]
    viewmats: Tensor  # [B,V,4,4] the source's camera is canonical, at its own distance
    Ks: Tensor  # [B,V,3,3] for T x T pixels
    landmarks: Tensor  # [B,V,68,2] pixels of the targets
    masks: Tensor  # [B,V,T,T,1] where the face is; [B,0,...] where no file says so and the mesh has to

    def __len__(self) -> int:
        return len(self.sources)

    def to(self, device: torch.device) -> Views:
        """The same on another device."""
        return Views(**{f.name: getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)})


@dataclass(frozen=True)
class Sizes:
    """How items are made: pixels of source and targets, views besides the source's, the network's focal length."""

    source: int
    target: int
    side_views: int
    focal: float


class Layout(Protocol):
    """A folder of people in one of the layouts."""

    names: list[str]
    notes: list[str]  # a sentence for everybody who was left out

    def item(self, index: int, rng: np.random.Generator) -> Views:
        """One person, views and background drawn by ``rng``. Raises FormatError naming a damaged file."""
        ...


class MultiView:
    """Several views of every person, with their cameras."""

    def __init__(self, directory: Path, sizes: Sizes) -> None:
        self.directory, self.sizes = directory, sizes
        self.names: list[str] = []
        self.notes: list[str] = []
        self._landmarks: list[np.ndarray] = []
        self._intrinsics: list[np.ndarray] = []
        for folder in sorted(path.parent for path in directory.glob("*/rgba")):
            try:
                landmarks = read_array(folder / "lmks2d.npy", (None, 68, 2))
                if len(landmarks) <= sizes.side_views:
                    raise FormatError(f"it has {len(landmarks)} views and {sizes.side_views + 1} are compared.")
                self._intrinsics.append(self._camera(folder))
                self._landmarks.append(landmarks)
                self.names.append(folder.name)
            except FormatError as error:
                self.notes.append(f"{folder.name} is left out: {error}")

    def item(self, index: int, rng: np.random.Generator) -> Views:
        sizes, folder, camera = self.sizes, self.directory / self.names[index], self._intrinsics[index]
        chosen = rng.permutation(len(self._landmarks[index]))[: sizes.side_views + 1]
        poses = np.stack([read_viewmat(folder / "pose" / f"{view:03d}.npy") for view in chosen])
        viewmats, _ = normalise_views(poses)
        level = float(rng.choice(BACKGROUNDS))
        pictures = [read_rgba(folder / "rgba" / f"{view:03d}.png") for view in chosen]
        scale = sizes.target / camera[2]
        K = np.array([[camera[0, 0], 0, camera[1, 0]], [0, camera[0, 1], camera[1, 1]], [0, 0, 1]])
        K[:2] *= scale[:, None]
        targets = [picture.resize((sizes.target, sizes.target), _BICUBIC) for picture in pictures]
        return Views(
            sources=_source(pictures[0], sizes.source),
            cameras=_tensor(camera_vector(viewmats[0], float(camera[0, 0] / camera[2, 0]))),
            targets=_tensor(np.stack([on_colour(picture, level) for picture in targets])),
            alphas=_tensor(np.stack([np.asarray(picture)[..., 3:] / 255 for picture in targets])),
            backgrounds=torch.full((3,), level),
            viewmats=_tensor(viewmats),
            Ks=_tensor(np.stack([K] * len(chosen))),
            landmarks=_tensor(self._landmarks[index][chosen] * scale),
            masks=torch.empty(0, sizes.target, sizes.target, 1),
        )

    def _camera(self, folder: Path) -> np.ndarray:
        """intrinsics.npy: fx, fy; cx, cy; width, height, in pixels."""
        camera = read_array(folder / "intrinsics.npy", (3, 2))
        if (camera <= 0).any():
            raise FormatError(f"{folder / 'intrinsics.npy'} holds {camera.tolist()}, which is no camera.")
        focal = camera[0, 0] / camera[2, 0]
        if abs(focal / self.sizes.focal - 1) > _FOCAL_TOLERANCE:
            raise FormatError(
                f"its focal length is {focal:.3g} of the picture's width and the preset's model.focal is "
                f"{self.sizes.focal:.3g}."
            )
        return camera


class Mono:
    """One portrait of every person, taken by the canonical camera; a mask says where the face is."""

    def __init__(self, directory: Path, sizes: Sizes) -> None:
        self.directory, self.sizes = directory, sizes
        self.names: list[str] = []
        self.notes: list[str] = []
        self._landmarks: list[np.ndarray] = []
        found = _read_landmarks(directory / "lmks.npz")
        for name in sorted(path.stem for path in (directory / "rgba").glob("*.png")):
            points = found.get(name)
            if points is None or points.shape != (68, 2) or not np.isfinite(points).all():
                state = "no landmarks" if points is None else f"{list(points.shape)} instead of 68 finite landmarks"
                self.notes.append(f"{name} is left out: lmks.npz has {state} of it.")
                continue
            self.names.append(name)
            self._landmarks.append(points.astype(np.float64))

    def item(self, index: int, rng: np.random.Generator) -> Views:
        sizes, name = self.sizes, self.names[index]
        level = float(rng.choice(BACKGROUNDS))
        picture = read_rgba(self.directory / "rgba" / f"{name}.png")
        target = picture.resize((sizes.target, sizes.target), _BICUBIC)
        viewmat = canonical_viewmat()
        return Views(
            sources=_source(picture, sizes.source),
            cameras=_tensor(camera_vector(viewmat)),  # what inference gives every model, whatever its own focal length
            targets=_tensor(on_colour(target, level))[None],
            alphas=_tensor(np.asarray(target)[None, ..., 3:] / 255),
            backgrounds=torch.full((3,), level),
            viewmats=_tensor(viewmat)[None],
            Ks=_tensor(intrinsics(sizes.target, sizes.focal))[None],
            landmarks=_tensor(self._landmarks[index] * (sizes.target / picture.width))[None],
            masks=_tensor(read_mask(self.directory / "mask" / f"{name}.png", sizes.target))[None, ..., None],
        )


class HeadData:
    """People of either layout, drawn in batches. A person whose files turn out damaged is replaced by the next one."""

    def __init__(self, directory: Path | str, sizes: Sizes) -> None:
        directory = Path(directory)
        if (directory / "lmks.npz").is_file():
            self.layout: Layout = Mono(directory, sizes)
        elif any(directory.glob("*/rgba")):
            self.layout = MultiView(directory, sizes)
        else:
            raise InputError(
                f"{directory} has neither layout that KaoLRM trains on: a folder per person with rgba/, pose/, "
                "intrinsics.npy and lmks2d.npy; or rgba/, mask/ and lmks.npz. generate-heads makes both."
            )
        self._damaged: dict[int, str] = {}
        if not self.layout.names:
            raise InputError(f"{directory} holds nobody who can be used. {' '.join(self.notes[:1])}")

    def __len__(self) -> int:
        return len(self.layout.names)

    @property
    def notes(self) -> list[str]:
        """A sentence for everybody who is left out, so far."""
        return [*self.layout.notes, *self._damaged.values()]

    def batch(self, people: Iterable[tuple[int, list[int]]]) -> Views:
        """The people of these numbers, each with the seed that its views and background are drawn from."""
        with ThreadPoolExecutor(_READERS) as pool:
            items = list(pool.map(lambda one: self._sound_item(*one), people))
        return Views(**{f.name: torch.stack([getattr(item, f.name) for item in items]) for f in fields(Views)})

    def _sound_item(self, index: int, seed: list[int]) -> Views:
        for number in range(len(self)):
            person = (index + number) % len(self)
            if person not in self._damaged:
                try:
                    return self.layout.item(person, np.random.default_rng(seed))
                except FormatError as error:
                    self._damaged[person] = f"{self.layout.names[person]} is left out: {error}"
        raise InputError(f"Nobody in the data can be read any more. {self.notes[-1]}")


def _read_landmarks(path: Path) -> dict[str, np.ndarray]:
    """lmks.npz: [68,2] of every uid, in pixels of its picture. Raises FormatError."""
    try:
        with opened_npz(path) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # zip, zlib and numpy each raise their own
        raise FormatError(f"{path} is damaged or no .npz file.", repr(error)) from error


def _source(picture: Image.Image, size: int) -> Tensor:
    """The picture that the network sees [3,S,S]."""
    return _tensor(on_colour(picture.resize((size, size), _BICUBIC), 1.0)).permute(2, 0, 1).contiguous()


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))
