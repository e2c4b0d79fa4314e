# SPDX-License-Identifier: Apache-2.0
"""Other trackers' recordings: the skull stays at its pixels whatever the conventions, and the way to VHAP and back."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from blendsplat.errors import FormatError, InputError, UnsafeFileError, VideoError
from blendsplat.exchange.recording import export_vhap, import_recording
from blendsplat.geometry import project_points, rotvec_to_matrix
from blendsplat.heads.model import HeadModel, HeadParams
from blendsplat.heads.performance import Performance
from blendsplat.video import Clip

FRAMES, WIDTH, HEIGHT = 6, 64, 48


def make_head(vertices: int) -> HeadModel:
    """A "FLAME" without pose correctives; every vertex belongs to the skull, the jaw or an eye."""
    generator = torch.Generator().manual_seed(0)

    def noise(*size: int, scale: float = 0.01) -> torch.Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.float64) * scale

    weights = torch.zeros(vertices, 5, dtype=torch.float64)
    weights[torch.arange(vertices), torch.randint(1, 5, (vertices,), generator=generator)] = 1
    corners = torch.arange(vertices // 3 * 3).reshape(-1, 3)
    return HeadModel(
        name="flame-small",
        template=noise(vertices, 3, scale=0.08),
        faces=corners,
        uvs=torch.zeros(vertices, 2),
        uv_faces=corners,
        shape_directions=noise(8, vertices, 3),
        expression_directions=noise(7, vertices, 3),
        expression_names=tuple("abcdefg"),
        eyelid_directions=noise(2, vertices, 3),
        pose_directions=torch.zeros(36, vertices, 3, dtype=torch.float64),
        joints=noise(5, 3, scale=0.05),
        joint_shape_directions=noise(8, 5, 3),
        joint_expression_directions=noise(7, 5, 3),
        skin_weights=weights,
    )


@pytest.fixture
def head() -> HeadModel:
    return make_head(30)


def parameters(rng: np.random.Generator, vertices: int = 30) -> dict[str, np.ndarray]:
    return {
        "translation": rng.normal(0, 0.05, (FRAMES, 3)),
        "rotation": rng.normal(0, 0.3, (FRAMES, 3)),
        "neck_pose": rng.normal(0, 0.2, (FRAMES, 3)),
        "jaw_pose": rng.normal(0, 0.1, (FRAMES, 3)),
        "eyes_pose": rng.normal(0, 0.2, (FRAMES, 6)),
        "shape": rng.normal(0, 1, 8),
        "expr": rng.normal(0, 1, (FRAMES, 7)),
        "static_offset": rng.normal(0, 0.003, (1, vertices, 3)),
    }


def head_params(values: dict[str, np.ndarray], eyelids=None) -> HeadParams:
    def tensor(value) -> torch.Tensor:
        return torch.as_tensor(np.asarray(value), dtype=torch.float64)

    return HeadParams(
        tensor(values["shape"])[None],
        tensor(values["expr"]),
        tensor(values["rotation"]),
        tensor(values["neck_pose"]),
        tensor(values["jaw_pose"]),
        tensor(values["eyes_pose"]).reshape(-1, 2, 3),
        tensor(np.zeros((FRAMES, 2)) if eyelids is None else eyelids),
        tensor(values["translation"]),
    )


def cameras(rng: np.random.Generator) -> np.ndarray:
    """World-to-camera matrices of a camera that moves a little, a metre in front of the face, OpenCV axes."""
    viewmats = np.repeat(np.diag([1.0, -1.0, -1.0, 1.0])[None], FRAMES, 0)
    viewmats[:, :3, :3] = Rotation.from_rotvec(rng.normal(0, 0.1, (FRAMES, 3))).as_matrix() @ viewmats[:, :3, :3]
    viewmats[:, :3, 3] = np.array([0.01, 0.02, 1.0]) + rng.normal(0, 0.03, (FRAMES, 3))
    return viewmats


K = np.array([[80.0, 0, 31], [0, 82, 25], [0, 0, 1]])


def projected(vertices: torch.Tensor, viewmats: np.ndarray) -> np.ndarray:
    camera = np.einsum("fij,fvj->fvi", viewmats[:, :3, :3], vertices.numpy()) + viewmats[:, None, :3, 3]
    pixels = camera @ K.T
    return pixels[..., :2] / pixels[..., 2:]


def tracked_pixels(tracking: Performance, head: HeadModel) -> np.ndarray:
    params = tracking.params().to(torch.float64)
    vertices = head(params, torch.as_tensor(tracking.vertex_offsets, dtype=torch.float64))
    viewmats = torch.as_tensor(tracking.viewmat, dtype=torch.float64)[None].expand(tracking.frame_count, -1, -1)
    intrinsics = torch.as_tensor(tracking.K, dtype=torch.float64)[None].expand(tracking.frame_count, -1, -1)
    return project_points(vertices, viewmats, intrinsics)[..., :2].numpy()


def write_pictures(folder, rng, alpha=False) -> list[str]:
    folder.mkdir(parents=True)
    names = []
    for index in range(FRAMES):
        names.append(f"{folder.name}/{index:05d}_00.png")
        channels = 4 if alpha else 3
        Image.fromarray(rng.integers(0, 255, (HEIGHT, WIDTH, channels), np.uint8)).save(folder.parent / names[-1])
    return names


@pytest.fixture
def vhap(tmp_path):
    """VHAP's export with a moving camera: (folder, parameters, viewmats)."""
    return write_vhap(tmp_path / "vhäp")


def write_vhap(folder, vertices=30):
    rng = np.random.default_rng(1)
    values, viewmats = parameters(rng, vertices), cameras(rng)
    images, masks = write_pictures(folder / "images", rng), write_pictures(folder / "fg_masks", rng)
    (folder / "flame_param").mkdir()
    frames = []
    for index in range(FRAMES):
        name = f"flame_param/{index:05d}.npz"
        shared = {"shape": values["shape"], "static_offset": values["static_offset"]}
        np.savez(folder / name, **{k: v[index : index + 1] for k, v in values.items() if k not in shared}, **shared)
        opengl = np.linalg.inv(viewmats[index]) @ np.diag([1, -1, -1, 1])
        frames.append(
            {
                "timestep_index": index,
                "camera_index": 0,
                "cx": 31,
                "cy": 25,
                "fl_x": 80,
                "fl_y": 82,
                "h": HEIGHT,
                "w": WIDTH,
                "transform_matrix": opengl.tolist(),
                "file_path": images[index],
                "fg_mask_path": masks[index],
                "flame_param_path": name,
            }
        )
    other = {**frames[0], "camera_index": 3, "file_path": "images/missing.png"}
    (folder / "transforms.json").write_text(json.dumps({"frames": [*frames[::-1], other]}))
    return folder, values, viewmats


def test_vhap_the_skull_stays_at_its_pixels(vhap, head, tmp_path):
    folder, values, viewmats = vhap
    clip, tracking = import_recording(folder, tmp_path / "clip", head, fps=30)
    truth = projected(head(head_params(values), torch.as_tensor(values["static_offset"][0])), viewmats)
    np.testing.assert_allclose(tracked_pixels(tracking, head), truth, atol=1e-3)
    assert np.ptp(tracking.root_pose, axis=0).max() == 0  # the torso stands still
    assert (clip.frame_count, clip.width, clip.height, clip.fps) == (FRAMES, WIDTH, HEIGHT, 30)
    original = np.array(Image.open(folder / "images" / "00003_00.png"))
    np.testing.assert_array_equal(clip.image(3), original)
    np.testing.assert_array_equal(clip.matte(3), np.array(Image.open(folder / "fg_masks" / "00003_00.png")).max(-1))
    np.testing.assert_array_equal(Performance.load(clip.directory).neck_pose, tracking.neck_pose)
    assert json.loads((clip.directory / "camera.json").read_text())["width"] == WIDTH


def test_there_and_back(tmp_path):
    head = replace(make_head(5023), name="generic_model")  # what FLAME 2020's file is called
    folder, _, _ = write_vhap(tmp_path / "vhap", 5143)  # with VHAP's teeth, which other programs lack
    clip, tracking = import_recording(folder, tmp_path / "clip", head)
    export_vhap(clip.directory, tmp_path / "export")
    with np.load(tmp_path / "export" / "flame_param" / "00002.npz") as archive:
        assert archive["eyes_pose"].shape == (1, 6) and archive["expr"].shape == (1, 7)
        assert archive["static_offset"].shape == (1, 5143, 3)
    names = ("transforms", "transforms_train", "transforms_test")
    indices = [json.loads((tmp_path / "export" / f"{name}.json").read_text()) for name in names]
    assert [len(index["frames"]) for index in indices] == [6, 4, 2]
    again, back = import_recording(tmp_path / "export", tmp_path / "again", head)
    np.testing.assert_allclose(tracked_pixels(back, head), tracked_pixels(tracking, head), atol=1e-3)
    np.testing.assert_array_equal(again.matte(1), clip.matte(1))
    with pytest.raises(InputError, match="not empty"):
        export_vhap(clip.directory, tmp_path / "export")


def six(rotvecs: np.ndarray) -> np.ndarray:
    return Rotation.from_rotvec(rotvecs.reshape(-1, 3)).as_matrix()[:, :2].reshape(len(rotvecs), -1) * 1.7


def test_metrical_tracker(head, tmp_path):
    rng = np.random.default_rng(2)
    values, viewmats, eyelids = parameters(rng), cameras(rng), rng.uniform(0, 1, (FRAMES, 2))
    for name in ("translation", "rotation", "neck_pose", "static_offset"):
        values[name] = np.zeros_like(values[name])
    folder = tmp_path / "person"
    write_pictures(folder / "images", rng, alpha=True)
    (folder / "checkpoint").mkdir()
    for index in range(FRAMES):
        path = folder / "checkpoint" / f"{index:05d}.frame"
        row = slice(index, index + 1)
        half = np.diag([0.5, 0.5, 1.0]) @ K  # the tracker worked at half the size
        content = {
            "flame": {
                "exp": values["expr"][row],
                "shape": values["shape"][None],
                "eyes": six(values["eyes_pose"][row]),
                "jaw": six(values["jaw_pose"][row]),
                "eyelids": eyelids[row],
            },
            "opencv": {"R": viewmats[None, index, :3, :3], "t": viewmats[None, index, :3, 3], "K": half[None]},
            "img_size": np.array([HEIGHT // 2, WIDTH // 2]),
            "frame_id": f"{index:05d}",
            "global_step": index,
        }
        torch.save(content, path)
    clip, tracking = import_recording(folder, tmp_path / "clip", head)
    truth = projected(head(head_params(values, eyelids)), viewmats)
    np.testing.assert_allclose(tracked_pixels(tracking, head), truth, atol=1e-3)
    np.testing.assert_allclose(
        rotvec_to_matrix(torch.as_tensor(tracking.jaw_pose)),
        Rotation.from_rotvec(values["jaw_pose"]).as_matrix(),
        atol=1e-5,
    )
    np.testing.assert_array_equal(clip.matte(2), np.array(Image.open(folder / "images" / "00002_00.png"))[..., 3])
    (folder / "images" / "00005_00.png").unlink()
    with pytest.raises(FormatError, match="6 checkpoints"):
        import_recording(folder, tmp_path / "other", head)


class Malice:
    def __reduce__(self):
        return (os.system, ("touch harmed",))


def test_a_checkpoint_that_wants_to_run_code(head, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "person" / "images", np.random.default_rng(0))
    (tmp_path / "person" / "checkpoint").mkdir()
    for index in range(FRAMES):
        torch.save({"flame": Malice()}, tmp_path / "person" / "checkpoint" / f"{index}.frame")
    with pytest.raises(UnsafeFileError):
        import_recording(tmp_path / "person", tmp_path / "clip", head)
    for index in range(FRAMES):
        torch.save({"flame": {"exp": [1.0]}}, tmp_path / "person" / "checkpoint" / f"{index}.frame")
    with pytest.raises(FormatError):
        import_recording(tmp_path / "person", tmp_path / "clip", head)
    assert not (tmp_path / "harmed").exists() and not (tmp_path / "clip").exists()


def test_damage_is_told_and_nothing_is_left(vhap, head, tmp_path):
    folder, _, _ = vhap
    good = json.loads((folder / "transforms.json").read_text())

    def with_frame(**change):
        return {"frames": [{**frame, **change} for frame in good["frames"]]}

    bad = [
        {},
        {"frames": []},
        [],
        with_frame(fl_x="wide"),
        with_frame(transform_matrix=[[1]]),
        with_frame(flame_param_path="no.npz"),
        with_frame(fl_x=float("nan")),
        with_frame(transform_matrix=np.zeros((4, 4)).tolist()),
    ]
    for content in bad:
        (folder / "transforms.json").write_text(json.dumps(content))
        with pytest.raises(FormatError):
            import_recording(folder, tmp_path / "clip", head)
    (folder / "transforms.json").write_text(json.dumps(with_frame(file_path="images/missing.png")))
    with pytest.raises(VideoError, match=r"missing\.png"):
        import_recording(folder, tmp_path / "clip", head)
    (folder / "transforms.json").unlink()
    with pytest.raises(FormatError, match="neither"):
        import_recording(folder, tmp_path / "clip", head)
    assert not (tmp_path / "clip").exists()


def test_another_head_is_refused(vhap, head, tmp_path):
    folder, _, _ = vhap
    for other in (
        replace(
            head,
            expression_directions=head.expression_directions[:3],
            joint_expression_directions=head.joint_expression_directions[:3],
        ),
        replace(head, template=head.template[:20], shape_directions=head.shape_directions[:, :20]),
    ):
        with pytest.raises(InputError, match="FLAME it was made with"):
            import_recording(folder, tmp_path / "clip", other)
    clip, tracking = import_recording(folder, tmp_path / "clip", head)
    tracking.head, tracking.head_family = "flame_or_so", "builtin"
    tracking.save(clip.directory / "tracking.npz")
    with pytest.raises(InputError, match=r"flame_or_so.*builtin"):
        export_vhap(clip.directory, tmp_path / "export")
    assert Clip.open(clip.directory).info.matte == "external"
