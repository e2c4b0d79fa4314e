# SPDX-License-Identifier: Apache-2.0
"""The picture of an evaluation: the worst, the median and the best frame as source, mesh, avatar and error, and the
avatar from the sides. Figures that nobody looks at behind are believed too easily."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from blendsplat.avatars.avatar import Avatar, TrainingCamera
from blendsplat.evaluation.side_views import SideView
from blendsplat.heads.model import HeadModel
from blendsplat.splatting import rasterize_mesh
from blendsplat.tracking.overlay import OverlayPainter
from blendsplat.training.frame_store import FrameStore
from blendsplat.training.scores import rendered_frames

TILE = 320  # pixels
LABEL = 26  # pixels of the strip above a tile that says what it is
ERROR_TIMES = 4  # an error of a quarter is as bright as can be
HOLE, FLOATER = (255, 40, 40), (60, 110, 255)
COLUMNS = ("source", "mesh", "avatar", f"error, times {ERROR_TIMES}")

Tile = tuple[str, np.ndarray]  # what it is, picture [H,W,3] uint8


@torch.no_grad()
def frame_tiles(
    avatar: Avatar, head: HeadModel, frames: FrameStore, row: int, camera: TrainingCamera, title: str
) -> list[Tile]:
    """One row of the sheet: the frame in ``row`` of the store. head: the clip's own, whose regions tint the mesh."""
    one = frames.part([row])
    rendered = next(rendered_frames(avatar, one, camera))
    valid, source = rendered.frames.valid[0].cpu().numpy(), rendered.frames.premultiplied[0].cpu().numpy()
    shown = rendered.image[0].clamp(0, 1).cpu().numpy()
    vertices = avatar.vertices(one.params)
    size = camera.width, camera.height
    ids = rasterize_mesh(vertices.float(), head.faces.to(torch.int32), camera.viewmat[None], camera.K[None], *size)[0]
    seen = vertices[0] @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]
    matte = (255 * rendered.frames.alpha[0, ..., 0].cpu().numpy()).astype(np.uint8)
    mesh = OverlayPainter(head).paint(
        _bytes(source), seen.cpu().numpy(), ids[0].cpu().numpy(), None, matte, _bytes(valid)[..., 0]
    )
    pictures = (_bytes(source * (0.4 + 0.6 * valid)), mesh, _bytes(shown), error_picture(shown, source, valid))
    names = (title, *COLUMNS[1:])
    return list(zip(names, pictures, strict=True))


def error_picture(image: np.ndarray, target: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """[H,W,3] uint8: the mean absolute error of the pixels that count (valid [H,W,1]), black over violet to yellow."""
    error = ERROR_TIMES * np.abs(image - target).mean(-1) * valid[..., 0]
    return np.asarray(cv2.applyColorMap(_bytes(error), cv2.COLORMAP_INFERNO)[..., ::-1])


def side_tiles(views: Sequence[SideView]) -> tuple[list[Tile], list[Tile]]:
    """Two rows: the avatar from each side, and the same with holes in red and floaters in blue."""
    plain: list[Tile] = []
    marked: list[Tile] = []
    for view in views:
        picture = _bytes(view.image)
        told = (picture // 2).astype(np.uint8)
        told[view.holes], told[view.floaters] = HOLE, FLOATER
        plain.append((view.name.replace("_", " the "), picture))
        holes, floaters = 100 * view.share_of_holes, 100 * view.share_of_floaters
        fringe = "" if view.fringe is None else f", fringe {view.fringe:.2f}"
        marked.append((f"holes {holes:.1f} %, floaters {floaters:.2f} %{fringe}", told))
    return plain, marked


def sheet(rows: Sequence[Sequence[Tile]]) -> np.ndarray:
    """Rows of tiles, each fitted into TILE x TILE under its label -> [H,W,3] uint8."""
    columns = max(len(row) for row in rows)
    canvas = Image.new("RGB", (columns * TILE, len(rows) * (TILE + LABEL)), (24, 24, 24))
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(15)
    for down, row in enumerate(rows):
        for right, (label, picture) in enumerate(row):
            x, y = right * TILE, down * (TILE + LABEL)
            draw.text((x + 6, y + 4), label, fill=(230, 230, 230), font=font)
            tile = Image.fromarray(picture)
            scale = TILE / max(tile.size)
            tile = tile.resize((max(round(tile.width * scale), 1), max(round(tile.height * scale), 1)))
            canvas.paste(tile, (x + (TILE - tile.width) // 2, y + LABEL + (TILE - tile.height) // 2))
    return np.asarray(canvas)


def _bytes(values: np.ndarray) -> np.ndarray:
    """Floats in [0,1] as uint8; what lies outside is held."""
    return np.asarray((values.clip(0, 1) * 255 + 0.5).astype(np.uint8))
