# SPDX-License-Identifier: Apache-2.0
"""Which pixels an avatar of a head answers for: weights that ignore what lies below the tracked neck and the shoulders
beside it, while background and hair that hangs from the head stay.

The matte is of a person, the avatar of a head; training on clothes would drag the neck over them. The cut follows the
torso, not the turning head, and its border is soft, so it is the same place on the body through the whole clip.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from blendsplat.heads.model import HeadModel

SIDE_ABOVE_CHIN = 0.03  # metres above the chin up to which a raised collar beside the neck may reach
MESH_MARGIN = 0.01  # metres around the mesh that count as head and neck
HAIR_ABOVE_LINE = 0.05  # metres above that line in which hair beside the face starts
HAIR_SEED = 0.00008  # square metres of it that make hair which hangs down
HAIR_BELOW_RING = 0.05  # metres below the neck's ring down to which hair is kept
SOFT = 0.008  # metres over which a border fades
CHIN = 152  # landmark
HAIR_FRINGE = 0.006  # metres
BINS = 16


@dataclass
class NeckGeometry:
    """What a frame's cut is drawn from, in pixels: ring [R,2] of the neck, side lines [2,2] across the image (left end,
    right end) at the ring's height and at the mouth's, and pixels per metre at the neck."""

    ring: np.ndarray
    ring_line: np.ndarray
    chin_line: np.ndarray
    scale: float


@dataclass
class HairColours:
    """keep [BINS^3] uint8: 255 for colours that are the hair's and not the clothes'."""

    keep: np.ndarray

    def of(self, image: np.ndarray) -> np.ndarray:
        """[H,W,3] uint8 -> [H,W] uint8."""
        return self.keep[colour_bins(image)]


def neck_heights(head: HeadModel, template: np.ndarray) -> tuple[float, float]:
    """Heights (metres, rest head) of the neck's ring and of the line above the chin, on a person's template [V,3]."""
    ring = float(template[head.regions["neck_ring"], 1].mean())
    chin = template[head.regions["face"], 1].min()
    if head.landmarks is not None:
        corners = head.faces[head.landmarks.faces[CHIN]].numpy()
        chin = (template[corners] * head.landmarks.barycentrics[CHIN].numpy()[:, None]).sum(0)[1]
    return ring, max(float(chin) + SIDE_ABOVE_CHIN, ring + 0.01)


def neck_geometry(
    ring: np.ndarray, centre: np.ndarray, torso: np.ndarray, rise: float, K: np.ndarray, viewmat: np.ndarray
) -> NeckGeometry:
    """ring [R,3], its centre [3] in the world, the torso's rotation [3,3], rise: metres from ring to chin line."""

    def project(points: np.ndarray) -> np.ndarray:
        camera = points @ viewmat[:3, :3].T + viewmat[:3, 3]
        camera[:, 2] = np.maximum(camera[:, 2], 0.05)
        image = camera @ K.T
        return image[:, :2] / image[:, 2:]

    across, up = torso[:, 0] * [1, 1, 0], torso[:, 1]  # level lines: a turned torso's depth must not tilt them
    sides = np.stack([centre - 0.15 * across, centre + 0.15 * across])
    depth = (viewmat[:3, :3] @ centre + viewmat[:3, 3])[2]
    return NeckGeometry(project(ring), project(sides), project(sides + rise * up), float(K[0, 0] / max(depth, 0.05)))


def valid_map(
    geometry: NeckGeometry, mesh: np.ndarray, matte: np.ndarray, image: np.ndarray | None, hair: HairColours | None
) -> np.ndarray:
    """Weights uint8 [H,W] from a frame's mesh mask (bool), matte (uint8) and, if hair is known, image [H,W,3]."""
    height, width = mesh.shape
    below = _area_below(_lower_edge(geometry, width), height, width)
    shoulders = _area_below(_extended(geometry.chin_line, width), height, width)
    head = cv2.dilate(mesh.astype(np.uint8), _brush(MESH_MARGIN * geometry.scale))
    shoulders[head > 0] = 0
    shoulders[cv2.dilate(matte, _brush(3)) < 24] = 0  # background beside the neck shows where the neck ends
    ignored = cv2.max(below, shoulders)
    if hair is not None and image is not None:
        ignored[_hanging_hair(geometry, hair, image, matte, head) > 0] = 0
    size = max(3, int(SOFT * geometry.scale) | 1)
    return cv2.blur(255 - ignored, (size, size), borderType=cv2.BORDER_REPLICATE)


def learn_hair(samples: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> HairColours | None:
    """From (image [H,W,3], hair mask [H,W], clothes mask [H,W]) of spread frames; None: too little to see."""
    hair, clothes = np.zeros(BINS**3), np.zeros(BINS**3)
    for image, hair_mask, clothes_mask in samples:
        bins = colour_bins(image)
        hair += np.bincount(bins[hair_mask], minlength=BINS**3)
        clothes += np.bincount(bins[clothes_mask], minlength=BINS**3)
    if hair.sum() < 500:
        return None
    hair, clothes = (_smoothed(counts / max(counts.sum(), 1)) for counts in (hair, clothes))
    keep = (hair > clothes) & (hair > 2e-4)
    return HairColours(np.where(keep, 255, 0).astype(np.uint8))


def hair_and_clothes(
    geometry: NeckGeometry, face_ids: np.ndarray, scalp_faces: np.ndarray, matte: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Masks [H,W] bool of pixels that are surely hair (over the scalp) and surely clothes (well below the neck)."""
    height, width = matte.shape
    person = matte > 230
    hair = person & scalp_faces[face_ids] & (face_ids >= 0)
    lowered = _extended(geometry.ring_line + [0, 0.03 * geometry.scale], width)
    return hair, person & (_area_below(lowered, height, width) > 0)


def colour_bins(image: np.ndarray) -> np.ndarray:
    """[H,W,3] uint8 -> [H,W] index of the colour's cell among BINS^3."""
    cell = (image >> 4).astype(np.int32)
    return (cell[..., 0] << 8) | (cell[..., 1] << 4) | cell[..., 2]


def _smoothed(histogram: np.ndarray) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(histogram.reshape(BINS, BINS, BINS), 0.7, mode="constant").ravel()


def _hanging_hair(
    geometry: NeckGeometry, hair: HairColours, image: np.ndarray, matte: np.ndarray, head: np.ndarray
) -> np.ndarray:
    """255 where the person beside the head has the hair's colours and hangs together with hair beside the face."""
    height, width = matte.shape
    up, down = (distance * geometry.scale for distance in (HAIR_ABOVE_LINE, HAIR_BELOW_RING))
    first = int(np.clip(geometry.chin_line[:, 1].min() - up, 0, height - 1))
    part = slice(first, None)
    strands = cv2.medianBlur(hair.of(np.ascontiguousarray(image[part])), 5)
    floor = _area_below(_extended(geometry.ring_line + [0, down], width), height, width)[part]
    strands[(floor > 0) | (matte[part] < 128) | (head[part] > 0)] = 0
    _, labels = cv2.connectedComponents(strands)
    above = _area_below(_extended(geometry.chin_line, width), height, width)[part] == 0
    seeds = np.bincount(labels[above], minlength=labels.max() + 1)
    hanging = seeds > HAIR_SEED * geometry.scale**2
    hanging[0] = False
    result = np.zeros_like(matte)
    result[part] = np.where(hanging[labels], 255, 0)
    # Its fringe, mixed with what lies behind, has lost the hair's colours.
    return cv2.dilate(result, _brush(HAIR_FRINGE * geometry.scale))


def _lower_edge(geometry: NeckGeometry, width: int) -> np.ndarray:
    """[N,2] polyline across the image: the lower edge of the ring, and its line's height to both sides."""
    points = np.concatenate([geometry.ring, geometry.ring[:1]])
    along = np.linspace(0, 1, 8, endpoint=False)[:, None]
    dense = (points[:-1, None] * (1 - along) + points[1:, None] * along).reshape(-1, 2)
    left, right = dense[:, 0].min(), dense[:, 0].max()
    columns = np.linspace(left, right, 33)
    nearest = np.clip(((dense[:, 0] - left) / max(right - left, 1e-6) * 32).round().astype(int), 0, 32)
    lowest = np.full(33, -np.inf)
    np.maximum.at(lowest, nearest, dense[:, 1])
    filled = np.isfinite(lowest)
    edge = np.column_stack([columns[filled], lowest[filled]])
    line = _extended(geometry.ring_line, width)
    outside = [line[:1]] if left > line[0, 0] else [edge[:0]]
    beyond = [line[1:]] if right < line[1, 0] else [edge[:0]]
    return np.concatenate([*outside, edge, *beyond])


def _extended(line: np.ndarray, width: int) -> np.ndarray:
    """The line through two points [2,2], from beyond the image's left side to beyond its right."""
    (x0, y0), (x1, y1) = line
    slope = (y1 - y0) / (x1 - x0) if abs(x1 - x0) > 1 else 0.0
    slope = float(np.clip(slope, -1, 1))
    return np.array([[x, y0 + slope * (x - x0)] for x in (-width, 2.0 * width)])


def _area_below(line: np.ndarray, height: int, width: int) -> np.ndarray:
    """Mask uint8 [H,W]: 255 below the polyline [N,2], anti-aliased to 1/16 pixel."""
    area = np.zeros((height, width), np.uint8)
    bottom = np.array([[line[-1, 0], 20.0 * height], [line[0, 0], 20.0 * height]])
    polygon = np.clip(np.concatenate([line, bottom]) - 0.5, -16000, 16000)
    cv2.fillPoly(area, [np.round(polygon * 16).astype(np.int32)], (255,), shift=4)
    return area


def _brush(radius: float) -> np.ndarray:
    """A square to dilate with: unlike a disc it costs the same at every size."""
    size = 2 * max(round(radius), 1) + 1
    return np.ones((size, size), np.uint8)
