# SPDX-License-Identifier: Apache-2.0
"""The steps of the work in one call, for tests that begin after them."""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np
from blender_addon.client import session


def work(scene) -> None:
    assert bpy.ops.blendsplat.import_video() == {"FINISHED"}
    assert bpy.ops.blendsplat.track() == {"FINISHED"}
    assert bpy.ops.blendsplat.train() == {"FINISHED"}


def the_avatar(scene):
    return next(item for item in scene.objects if item.blendsplat.kind == "AVATAR")


def positions(carrier) -> np.ndarray:
    """The evaluated Gaussians' places, flat."""
    mesh = carrier.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    values = np.empty(len(mesh.vertices) * 3, np.float32)
    mesh.attributes["position"].data.foreach_get("vector", values)
    return values


def compare_frames(scene, rows, rgba, folder: Path) -> None:
    """Blender's frames of the performance's ``rows`` are the engine's ``rgba`` [F,H,W,4], premultiplied."""
    for row, want in zip(rows, rgba, strict=True):
        scene.frame_set(1 + int(row))
        have = straight(scene, folder / f"{row}.png")
        assert have[..., 3].max() > 0.9
        np.testing.assert_allclose(have[..., 3], want[..., 3], atol=4e-3)
        shown = have[..., :3] * have[..., 3:]
        error = np.abs(shown - np.minimum(want[..., :3], want[..., 3:]))
        assert np.mean(error) < 1e-3 and np.mean(error.max(-1) > 0.02) < 0.01


def straight(scene, path: Path) -> np.ndarray:
    """The present frame over nothing [H,W,4]: straight display values, first row at the top."""
    scene.render.film_transparent, scene.render.dither_intensity = True, 0
    scene.render.image_settings.file_format, scene.render.image_settings.color_mode = "PNG", "RGBA"
    scene.render.image_settings.color_depth = "16"
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    image = bpy.data.images.load(str(path))
    image.colorspace_settings.name = "Non-Color"
    return np.array(image.pixels[:], np.float32).reshape(image.size[1], image.size[0], 4)[::-1]


def picture(scene, path: Path) -> np.ndarray:
    """The same, premultiplied."""
    have = straight(scene, path)
    return np.concatenate([have[..., :3] * have[..., 3:], have[..., 3:]], -1)


def ask(method: str, params: dict, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The engine's answer, waited for as a render does."""
    return session.ready().request(method, params, arrays).wait(120)[1]
