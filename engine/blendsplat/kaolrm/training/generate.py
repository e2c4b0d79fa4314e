# SPDX-License-Identifier: Apache-2.0
"""Training data without a licence: random people rendered in KaoLRM's published layouts and camera protocol.

Multi-view: ``{uid}/rgba/000.png ..., pose/000.npy, intrinsics.npy, lmks2d.npy``; monocular: ``rgba/{uid}.png,
mask/{uid}.png, lmks.npz``. Beside them lies what real data does not have: ``truth.npz``, the head's parameters.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from blendsplat.errors import InputError
from blendsplat.files import atomic_path, save_arrays, write_json, write_npz
from blendsplat.geometry import project_points
from blendsplat.heads.landmarks68 import landmarks68
from blendsplat.heads.model import HeadModel
from blendsplat.heads.portrait import look_at
from blendsplat.heads.render import render_views
from blendsplat.kaolrm.conventions import FOCAL, PORTRAIT_FACE, blender_pose, intrinsics
from blendsplat.kaolrm.training.losses import face_triangles
from blendsplat.progress import Progress
from blendsplat.splatting import rasterize_mesh
from blendsplat.synthetic.people import Person, random_person

NEAREST, FARTHEST = 1.9, 2.6  # distances of the cameras from the middle of the box (published protocol)
LOWEST, HIGHEST = -25.0, 50.0  # degrees of height: from below one looks into the shirt
PORTRAIT_SPREAD = 1.2  # a factor about PORTRAIT_FACE
BOX = 2.0  # side of the box that the drawn mesh fills
MONO_SIZE = 512
TRUTH, TRUTH_VERSION = "blendsplat-head-truth", 1


@dataclass(frozen=True)
class Generation:
    """What is rendered: how many people, views of each, their size in pixels, a seed, "multi-view" or "mono", how far
    to the side the cameras go (degrees; 90 is the whole frontal hemisphere, as published), and their focal length over
    the image's size: up to 1 the published box of side 2, above 1 portraits, the head filling the picture from afar."""

    people: int
    views: int = 32
    size: int = 512
    seed: int = 0
    layout: str = "multi-view"
    widest: float = 90.0
    focal: float = FOCAL


@dataclass
class Views:
    """One person from C cameras in the mesh frame: rgba [C,H,W,4] premultiplied, viewmats [C,4,4], landmarks [C,68,2]
    in pixels, the parameters scale and translation [3], and the intrinsics K [3,3]."""

    rgba: Tensor
    viewmats: np.ndarray
    landmarks: np.ndarray
    scale: float
    translation: np.ndarray
    K: np.ndarray


def generate(head: HeadModel, directory: Path | str, job: Generation, progress: Progress | None = None) -> int:
    """Render ``job`` into ``directory``; people that are there already are kept, so a stopped run continues.

    Returns how many were rendered now. Raises InputError for an unknown layout or a head without landmarks.
    """
    if job.layout not in ("multi-view", "mono"):
        raise InputError(f"The layout {job.layout!r} does not exist; choose multi-view or mono.")
    if job.people < 1 or job.views < 1 or job.size < 16 or not 0 < job.widest <= 90:
        raise InputError("Choose at least one person, one view, images of 16 pixels and cameras up to 90 degrees.")
    directory, progress, made = Path(directory), progress or Progress(), 0
    for number in range(job.people):
        progress.check()
        uid = f"{job.seed:04d}_{number:06d}"
        marker = directory / uid / "truth.npz" if job.layout == "multi-view" else directory / "truth" / f"{uid}.npz"
        if not marker.is_file():
            rng = np.random.default_rng([job.seed, number])
            person = random_person(head, rng)
            if job.layout == "multi-view":
                _write_multi_view(directory / uid, head, person, take_views(head, person, rng, job))
            else:
                mono = replace(job, views=1, size=MONO_SIZE)
                _write_mono(directory, uid, head, person, take_views(head, person, rng, mono))
            made += 1
        progress.update("render", number + 1, job.people)
    if job.layout == "mono":
        _collect_landmarks(directory)
    write_json(directory / "uids.json", sorted(_uids(directory, job.layout)))
    return made


def take_views(head: HeadModel, person: Person, rng: np.random.Generator, job: Generation) -> Views:
    """A person from random cameras of the protocol: in the frontal hemisphere, looking at the middle of the box."""
    place = _portrait_cameras if job.focal > 1 else _box_cameras
    scale, translation, viewmats = place(head, person, rng, job)
    Ks = np.stack([intrinsics(job.size, job.focal)] * job.views)
    metric = viewmats.copy()  # the renderer's light knows metres: cameras come to the head, not the head to them
    metric[:, :3, 3] = (viewmats[:, :3, 3] + viewmats[:, :3, :3] @ translation) / scale
    cameras = _float(metric), _float(Ks)
    rgba = render_views(
        head, person.drawn, person.texture, *cameras, job.size, job.size, person.light, props=person.props
    )
    points68 = landmarks68(head, head(person.params)) * scale + _float(translation)
    projected = project_points(points68.expand(job.views, -1, -1), _float(viewmats), _float(Ks))[..., :2]
    return Views(rgba, viewmats, projected.numpy(), scale, translation, Ks[0])


def _box_cameras(
    head: HeadModel, person: Person, rng: np.random.Generator, job: Generation
) -> tuple[float, np.ndarray, np.ndarray]:
    """The published placement: (scale, translation [3], viewmats [C,4,4]) with all that is drawn in a box of side 2."""
    points = person.drawn if person.props is None else torch.cat([person.drawn, person.props.points])
    low, high = points.amin(0).numpy(), points.amax(0).numpy()
    scale = BOX / float((high - low).max())
    directions = [_direction(rng, job.widest) for _ in range(job.views)]
    viewmats = [look_at(np.zeros(3), rng.uniform(NEAREST, FARTHEST), *direction) for direction in directions]
    return scale, -scale * 0.5 * (low + high), np.stack(viewmats)


def _portrait_cameras(
    head: HeadModel, person: Person, rng: np.random.Generator, job: Generation
) -> tuple[float, np.ndarray, np.ndarray]:
    """Portraits: (1, no translation, viewmats [C,4,4] in metres). The middle of the 68 landmarks lies near the
    picture's middle, and their height is about PORTRAIT_FACE of the picture's."""
    points = landmarks68(head, head(person.params))[0].numpy()
    middle, height = points.mean(0), np.ptp(points[:, 1])
    viewmats = []
    for _ in range(job.views):
        share = PORTRAIT_FACE * rng.uniform(1 / PORTRAIT_SPREAD, PORTRAIT_SPREAD)
        aim = middle + height * rng.uniform(-0.15, 0.15, 3)
        viewmats.append(look_at(aim, job.focal * height / share, *_direction(rng, job.widest)))
    return 1.0, np.zeros(3), np.stack(viewmats)


def _direction(rng: np.random.Generator, widest: float) -> tuple[float, float]:
    """Yaw, pitch of a camera: uniform over the sphere between LOWEST and HIGHEST and up to ``widest`` to the side."""
    while True:
        direction = rng.standard_normal(3)
        direction /= np.linalg.norm(direction)
        yaw, pitch = np.arctan2(direction[0], abs(direction[2])), np.arcsin(direction[1])
        if np.radians(LOWEST) < pitch < np.radians(HIGHEST) and abs(yaw) < np.radians(widest):
            break
    return float(yaw), float(pitch)


def _write_multi_view(folder: Path, head: HeadModel, person: Person, views: Views) -> None:
    (folder / "rgba").mkdir(parents=True, exist_ok=True)
    (folder / "pose").mkdir(exist_ok=True)
    for number, (rgba, viewmat) in enumerate(zip(views.rgba.numpy(), views.viewmats, strict=True)):
        _write_png(folder / "rgba" / f"{number:03d}.png", straight(rgba))
        _write_npy(folder / "pose" / f"{number:03d}.npy", blender_pose(viewmat).astype(np.float32))
    size, K = views.rgba.shape[1], views.K
    _write_npy(folder / "intrinsics.npy", np.array([[K[0, 0], K[1, 1]], [K[0, 2], K[1, 2]], [size, size]]))
    _write_npy(folder / "lmks2d.npy", views.landmarks.astype(np.float32))
    _write_truth(folder / "truth.npz", head, person, views)


def _write_mono(directory: Path, uid: str, head: HeadModel, person: Person, views: Views) -> None:
    for name in ("rgba", "mask", "truth"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    image = straight(views.rgba[0].numpy())
    _write_png(directory / "rgba" / f"{uid}.png", image)
    _write_png(directory / "mask" / f"{uid}.png", np.minimum(_face(head, person, views), image[..., 3]))
    _write_truth(directory / "truth" / f"{uid}.npz", head, person, views)


def _face(head: HeadModel, person: Person, views: Views) -> np.ndarray:
    """Where the first view shows the face's triangles [H,W] uint8, glasses and hair before it or not."""
    size, vertices = views.rgba.shape[1], person.drawn * views.scale + _float(views.translation)
    cameras = _float(views.viewmats[:1]), _float(views.K)[None]
    face_ids = rasterize_mesh(vertices[None], head.faces, *cameras, size, size)[0][0]
    shown = face_triangles(head)[face_ids.clamp_min(0).long()] & (face_ids >= 0)
    return shown.numpy().astype(np.uint8) * 255


def _collect_landmarks(directory: Path) -> None:
    """lmks.npz of the monocular layout: one [68,2] per uid, from the truths."""
    landmarks = {}
    for path in sorted((directory / "truth").glob("*.npz")):
        with np.load(path, allow_pickle=False) as truth:
            landmarks[path.stem] = truth["landmarks"][0]
    with atomic_path(directory / "lmks.npz") as temporary:
        save_arrays(temporary, landmarks, compress=True)


def _write_truth(path: Path, head: HeadModel, person: Person, views: Views) -> None:
    params = person.params
    shape = params.shape[0]
    root = head.joints[0] + torch.einsum("s,sc->c", shape, head.joint_shape_directions[:, 0])
    arrays = {
        "shape": shape, "expression": params.expression[0], "eyes_pose": params.eyes_pose[0], "root_joint": root,
        "pose": torch.cat([params.root_pose[0], params.jaw_pose[0]]), "scale": torch.tensor(views.scale),
        "translation": torch.as_tensor(views.translation), "viewmats": torch.from_numpy(views.viewmats),
        "focal": torch.tensor(views.K[0, 0] / views.rgba.shape[1]),
        "landmarks": torch.from_numpy(views.landmarks),
    }  # fmt: skip
    write_npz(
        path,
        {"format": TRUTH, "version": TRUTH_VERSION, "head": head.name, "head_model": head.model_id},
        {name: value.numpy().astype(np.float32) for name, value in arrays.items()},
    )


def _uids(directory: Path, layout: str) -> list[str]:
    if layout == "mono":
        return [path.stem for path in (directory / "truth").glob("*.npz")]
    return [path.parent.name for path in directory.glob("*/truth.npz")]


def straight(rgba: np.ndarray) -> np.ndarray:
    """Premultiplied float RGBA -> straight 8-bit RGBA, as PNG means it."""
    alpha = rgba[..., 3:]
    colour = np.divide(rgba[..., :3], alpha, out=np.zeros_like(rgba[..., :3]), where=alpha > 1e-4)
    return (np.concatenate([colour, alpha], -1).clip(0, 1) * 255 + 0.5).astype(np.uint8)


def _write_png(path: Path, image: np.ndarray) -> None:
    with atomic_path(path) as temporary:
        Image.fromarray(image).save(temporary, format="PNG", compress_level=1)


def _write_npy(path: Path, array: np.ndarray) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, array)


def _float(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.astype(np.float32))
