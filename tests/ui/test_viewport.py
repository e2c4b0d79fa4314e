# SPDX-License-Identifier: Apache-2.0
"""Splats in the 3D views of whole Blenders 4.3 and 5.2: beside the engine's rasterizer, and in the window's pixels."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from playing import FAKE, ROOT, by_name, played

from blendsplat.splatting import rasterize_gaussians

STORED = Path(__file__).parent / "stored"
LOOKED_AT = ("solid", "before-SOLID", "behind-MATERIAL", "behind-EEVEE", "own", "wireframe", "selected")
FLAT_FROM = 1000.0  # metres from which a long lens sees what an orthographic camera does


def test_splats_in_3d_views(blender, extension, tmp_path):
    sys.path.insert(0, str(FAKE.parent))
    import synthetic

    folder = tmp_path / "ui"
    folder.mkdir()
    gaussians = random_gaussians()
    np.savez(folder / "gaussians.npz", **gaussians)
    opaque = {"opacity_logits": np.full(4000, 5.0, np.float32)}
    avatar = synthetic.write_avatar(folder / "ana.avatar.npz", gaussians=4000, learned=opaque)
    options = {
        "folder": str(folder), "zip": str(extension), "engine": f"python3 {FAKE}", "avatar": str(avatar),
        "gaussians": str(folder / "gaussians.npz"),
    }  # fmt: skip
    steps = by_name(played(blender, "viewport_scenario.py", options, [ROOT, extension.parent]))
    assert steps["programs"][0]["problem"] == ""
    for name in steps["programs"][0]["views"]:
        as_the_engine_draws(gaussians, dict(np.load(folder / f"{name}.npz")), name)
    pictures = {step["name"]: window_pixels(folder, step) for step in steps["shot"]}
    hidden_by_and_hiding(pictures)
    follows_the_scene(pictures)
    outlined(pictures)
    as_stored(pictures, steps["programs"][0]["version"])
    assert "no GLSL today" in steps["broken"][0]["problem"] and "Show Points" in steps["broken"][0]["problem"]
    assert steps["mended"][0]["problem"] == ""


def random_gaussians(count: int = 1500) -> dict[str, np.ndarray]:
    """Blobs, needles and plates within about 0.3 m of the origin, faint ones and opaque ones; three that are not to be
    seen: too faint, of no size to speak of, and far behind everything."""
    rng = np.random.default_rng(11)
    scales = np.exp(rng.normal(-5.0, 0.9, (count, 3)))
    opacities = rng.uniform(0, 1, count) ** 2
    means = rng.normal(0, 0.12, (count, 3))
    opacities[0], scales[1], means[2] = 1e-4, 1e-9, (0, 50.0, 0)
    values = {
        "means": means, "quats": rng.normal(size=(count, 4)) * rng.uniform(0.2, 3, (count, 1)), "scales": scales,
        "opacities": opacities, "colors": rng.uniform(0, 1.2, (count, 3)),
    }  # fmt: skip
    return {name: value.astype(np.float32) for name, value in values.items()}


def as_the_engine_draws(gaussians: dict[str, np.ndarray], seen: dict[str, np.ndarray], name: str) -> None:
    """Colour, alpha and distance of a view beside the engine's."""
    height, width = seen["picture"].shape[:2]
    viewmat, K = pinhole(seen["view"], seen["projection"], width, height)
    ahead = -(gaussians["means"] @ seen["view"][2, :3] + seen["view"][2, 3])
    kept = (ahead > seen["ends"][0]) & (ahead < seen["ends"][1]) | (seen["projection"][3, 3] == 1)
    order = ("means", "quats", "scales", "opacities", "colors")
    tensors = [torch.from_numpy(gaussians[key][kept])[None] for key in order]
    matrices = [torch.from_numpy(matrix.astype(np.float32))[None] for matrix in (viewmat, K)]
    image, alpha, depth = (plane[0].numpy() for plane in rasterize_gaussians(*tensors, *matrices, width, height))
    picture, distances = seen["picture"][::-1], seen["distances"][::-1]
    assert alpha.max() > 0.9 and alpha.mean() > 0.02, f"{name}: nothing to compare"
    assert np.abs(picture[..., :3] - image).mean() < 0.004, name
    assert np.abs(picture[..., :3] - image).max() < 0.1, name
    assert np.abs(picture[..., 3:] - alpha).max() < 0.05, name
    there = alpha[..., 0] > 0.2
    back = FLAT_FROM if seen["projection"][3, 3] == 1 else 0.0
    mine = distances[..., 0] / np.maximum(distances[..., 3], 1e-6)
    gap = np.abs(mine + back - depth[..., 0] / np.maximum(alpha[..., 0], 1e-6))[there]
    assert np.percentile(gap, 99) < 0.004, name


def pinhole(view: np.ndarray, projection: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """OpenGL's matrices -> (viewmat [4,4], K [3,3]) of the engine; an orthographic one as a long lens far away."""
    viewmat = np.diag([1.0, -1.0, -1.0, 1.0]) @ view
    focal, sign, shift = np.diag(projection)[:2] * (width, height) / 2, -1, projection[:2, 2]
    if projection[3, 3] == 1:
        viewmat[2, 3] += FLAT_FROM
        focal, sign, shift = focal * FLAT_FROM, 1, projection[:2, 3]
    K = np.diag([*focal, 1.0])
    K[:2, 2] = width / 2 * (1 + sign * shift[0]), height / 2 * (1 - sign * shift[1])
    return viewmat, K


def window_pixels(folder: Path, step: dict) -> np.ndarray:
    """The view of a screenshot [H,W,3] from 0 to 1."""
    with Image.open(folder / f"{step['name']}.png") as image:
        whole = np.asarray(image.convert("RGB"), np.float32) / 255
    width, height = step["size"]
    return whole[step["top"] : step["top"] + height, step["left"] : step["left"] + width]


def hidden_by_and_hiding(pictures: dict[str, np.ndarray]) -> None:
    """The cube before the avatar covers it, the cube behind is covered, in every shading."""
    plain = pictures["solid"]
    for shading in ("SOLID", "MATERIAL", "EEVEE", "CYCLES"):
        before, behind = pictures[f"before-{shading}"], pictures[f"behind-{shading}"]
        assert variety(middle(before)) < 0.03, f"{shading}: splats shine through the cube"
        assert variety(middle(behind)) > 0.1, f"{shading}: the cube behind covers splats"
        assert np.abs(middle(behind) - middle(plain)).mean() < 0.02, f"{shading}: other colours than in Solid"
    for name in ("before-without overlays", "behind-without overlays"):
        assert np.abs(middle(pictures[name]) - middle(plain)).mean() < 0.02, f"{name}: no splats"
    assert np.abs(middle(pictures["own"]) - middle(plain)).mean() < 0.02, "the render engine's own view differs"
    assert np.abs(middle(pictures["wireframe"]) - middle(plain)).mean() > 0.02
    assert variety(middle(pictures["wireframe"])) > 0.02


def follows_the_scene(pictures: dict[str, np.ndarray]) -> None:
    plain, empty = pictures["solid"], pictures["hidden-eye"]
    assert np.abs(plain - empty).mean() > 0.01
    for name in ("hidden-screen", "hidden-collection", "hidden-bounds", "deleted"):
        assert np.abs(middle(pictures[name]) - middle(empty)).mean() < 0.01, f"{name}: splats are drawn"
    for name in ("shown-eye", "shown-screen", "shown-bounds", "undone"):
        assert np.abs(pictures[name] - plain).mean() < 0.004, name
    for name in ("slid", "moved"):
        assert np.abs(pictures[name] - plain).mean() > 0.002, f"{name}: the view did not follow"


def outlined(pictures: dict[str, np.ndarray]) -> None:
    """A selected avatar has a thin rim of the theme's colour, and only then."""
    plain = pictures["solid"]
    changed = np.abs(pictures["selected"] - plain).max(-1) > 0.1
    assert 300 < changed.sum() < 0.1 * (np.abs(plain - plain[5, 5]).max(-1) > 0.05).sum()
    red, green, blue = np.median(pictures["selected"][changed], 0)
    assert red > 0.8 and green > blue + 0.1, "not the theme's orange"
    assert np.abs(pictures["deselected"] - plain).mean() < 0.002


def as_stored(pictures: dict[str, np.ndarray], version: str) -> None:
    """Beside pictures that somebody has looked at, one set for each Blender, whose windows have their own size.
    BLENDSPLAT_UI_STORE=1 puts these in their place."""
    for name in LOOKED_AT:
        height, width = pictures[name].shape[:2]
        left, top = width // 2 - 192, height // 2 - 192
        cut = pictures[name][top : top + 384, left : left + 384].reshape(64, 6, 64, 6, 3).mean((1, 3))
        path = STORED / version / f"{name}.png"
        if os.environ.get("BLENDSPLAT_UI_STORE"):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.rint(cut * 255).astype(np.uint8)).save(path)
        if not path.exists():  # another release than those that were looked at
            continue
        with Image.open(path) as image:
            error = np.abs(cut - np.asarray(image, np.float32) / 255).max(-1)
        assert error.mean() < 0.016 and (error > 0.1).mean() < 0.01, f"{name} does not look as it did"


def middle(picture: np.ndarray) -> np.ndarray:
    """The middle 60 x 60 pixels."""
    height, width = picture.shape[:2]
    return picture[height // 2 - 30 : height // 2 + 30, width // 2 - 30 : width // 2 + 30]


def variety(picture: np.ndarray) -> float:
    return float(picture.std(axis=(0, 1)).max())
