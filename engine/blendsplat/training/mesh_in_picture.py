# SPDX-License-Identifier: Apache-2.0
"""Whether the tracked head lies in the picture at all, asked before hours are spent on it.

A camera of another convention (a flipped axis, pixels of another size, a lens in millimetres) puts the mesh beside the
picture or behind the camera. An avatar trained so is black, and nothing in its figures says why.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch

from blendsplat.errors import InputError
from blendsplat.files import write_bytes
from blendsplat.geometry import project_points
from blendsplat.heads.performance import frame_intrinsics
from blendsplat.training.tracked_clip import TrackedClip
from blendsplat.video.clip import encode_png

PICTURE = "mesh_outside.png"
FRAMES = 24  # that are looked at, evenly through the clip
INSIDE = 0.3  # of the face's vertices: a frame that shows fewer shows no face
FAR = 1.0  # picture sizes around the picture that are drawn: what lies farther is shown on the border
DOT, FRAME = (255, 150, 40), (230, 230, 230)


def check_mesh_in_picture(tracked: TrackedClip) -> None:
    """Raise InputError, with PICTURE written into the clip's folder, when in most of the valid frames less than
    INSIDE of the face's vertices are projected into the picture."""
    valid = np.flatnonzero(tracked.tracking.valid)
    if not len(valid):
        return
    rows = valid[np.linspace(0, len(valid) - 1, min(FRAMES, len(valid))).round().astype(int)]
    pixels, before = projected(tracked, rows)
    width, height = tracked.tracking.width, tracked.tracking.height
    within = before & (pixels >= 0).all(-1) & (pixels < [width, height]).all(-1)
    shares = within.mean(1)
    if np.median(shares) >= INSIDE:
        return
    worst = int(shares.argmin())
    where = tracked.clip.directory / PICTURE
    write_bytes(where, encode_png(_drawn(tracked.clip.image(int(rows[worst])), pixels[worst][before[worst]])))
    behind = " (it is behind the camera)" if not before[worst].any() else ""
    overlay = tracked.clip.directory / "overlay.mp4"
    also = f" and at {overlay}" if overlay.is_file() else ""
    raise InputError(
        f"The tracked head lies outside of the picture: in frame {rows[worst]} the camera shows "
        f"{100 * shares[worst]:.0f} % of the face{behind}. Look at {where}{also}: the camera "
        "(K and viewmat, or the recording's own) does not belong to these pictures. Import the recording again with "
        "the right camera, or track the clip again."
    )


@torch.no_grad()
def projected(tracked: TrackedClip, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels [F,V,2] of the face's vertices in the frames ``rows``, and whether they are in front of the camera
    [F,V]."""
    tracking, head = tracked.tracking, tracked.head
    index = torch.as_tensor(rows)
    params = tracking.params()[index]
    params.shape = params.expression.new_zeros(1, 0)  # the head is the person's own
    face = head.regions.get("face", np.arange(head.vertex_count))
    points = head(params)[:, torch.as_tensor(face)]
    view = torch.as_tensor(tracking.viewmat, dtype=torch.float32)
    depth = points @ view[2, :3] + view[2, 3]
    count = len(rows)
    K = torch.as_tensor(frame_intrinsics(tracking)[rows])
    return project_points(points, view.expand(count, 4, 4), K).numpy(), (depth > 0).numpy()


def _drawn(image: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """The picture in the middle of room around it, with the mesh's points [P,2] where the camera puts them."""
    height, width = image.shape[:2]
    room = np.array([round(FAR * width), round(FAR * height)])
    canvas = np.full((height + 2 * room[1], width + 2 * room[0], 3), 24, np.uint8)
    canvas[room[1] : room[1] + height, room[0] : room[0] + width] = image
    cv2.rectangle(canvas, tuple(map(int, room)), (int(room[0]) + width - 1, int(room[1]) + height - 1), FRAME, 1)
    limit = [canvas.shape[1] - 2, canvas.shape[0] - 2]
    for x, y in np.nan_to_num(pixels + room).clip(1, limit).round().astype(int):
        cv2.circle(canvas, (int(x), int(y)), 1, DOT, -1)
    return canvas
