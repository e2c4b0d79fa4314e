# SPDX-License-Identifier: Apache-2.0
"""The built-in head's arrays: shapes, symmetry, faces, UV islands, regions, weights, independent identities."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from blendsplat.heads.builtin import ARKIT_JOINTS, builtin_head
from blendsplat.heads.builtin.mesh import ISLANDS, PARTS
from blendsplat.heads.builtin.skin import neutral_mesh
from blendsplat.heads.model import JOINTS
from blendsplat.splatting import rasterize_mesh

REGIONS = {
    "face", "scalp", "neck", "lips", "left_eyeball", "right_eyeball", "left_ear", "right_ear", "nose", "neck_ring",
    "teeth_upper", "teeth_lower", "mouth_interior", "left_eyelids", "right_eyelids",
}  # fmt: skip

MIRRORED = (
    "browDown", "browOuterUp", "cheekSquint", "eyeBlink", "eyeLookDown", "eyeLookIn", "eyeLookOut", "eyeLookUp",
    "eyeSquint", "eyeWide", "mouthDimple", "mouthFrown", "mouthLowerDown", "mouthPress", "mouthSmile",
    "mouthStretch", "mouthUpperUp", "noseSneer",
)  # fmt: skip
ARKIT = (
    "browInnerUp", "cheekPuff", "jawForward", "jawLeft", "jawOpen", "jawRight", "mouthClose", "mouthFunnel",
    "mouthLeft", "mouthPucker", "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower",
    "mouthShrugUpper", "tongueOut",
    *(f"{name}{side}" for name in MIRRORED for side in ("Left", "Right")),
)  # fmt: skip


@pytest.fixture(scope="module")
def head():
    return builtin_head()


def signed_uv_areas(head) -> np.ndarray:
    a, b, c = head.uvs[head.uv_faces].double().numpy().transpose(1, 0, 2)
    return 0.5 * ((b - a)[:, 0] * (c - a)[:, 1] - (c - a)[:, 0] * (b - a)[:, 1])


def face_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    corners = vertices[faces]
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


def uv_raster(head, size: int, keep: np.ndarray | slice = slice(None)) -> np.ndarray:
    plane = torch.cat([head.uvs, torch.ones(len(head.uvs), 1)], 1)
    K = torch.diag(torch.tensor([size, size, 1.0]))
    ids, _, _ = rasterize_mesh(plane[None], head.uv_faces[keep], torch.eye(4)[None], K[None], size, size)
    return ids[0].numpy()


def test_array_shapes_and_types_fit_the_contract(head):
    v, f, s, e = head.vertex_count, len(head.faces), head.shape_count, head.expression_count
    assert 4500 <= v <= 6500
    assert s >= 50
    assert e >= 50
    assert head.faces.dtype == head.uv_faces.dtype == torch.int64
    assert head.uv_faces.shape == (f, 3)
    assert head.shape_directions.shape == (s, v, 3)
    assert head.expression_directions.shape == (e, v, 3)
    assert head.pose_directions.shape == (36, v, 3)
    assert head.eyelid_directions.shape == (2, v, 3)
    assert head.joints.shape == (len(JOINTS), 3)
    assert head.joint_shape_directions.shape == (s, 5, 3)
    assert head.skin_weights.shape == (v, 5)
    assert len(set(head.shape_names)) == s
    assert len(set(head.expression_names)) == e
    for array in (head.template, head.shape_directions, head.expression_directions, head.pose_directions):
        assert array.dtype == torch.float32
        assert torch.isfinite(array).all()
    used = np.zeros(v, bool)
    used[head.faces.numpy()] = True
    assert used.all(), "every vertex belongs to a face"


def test_it_is_a_head_of_human_size(head):
    low, high = head.template.amin(0), head.template.amax(0)
    width, tall = (high - low)[0].item(), (high - low)[1].item()
    ears = head.template[np.concatenate([head.regions["left_ear"], head.regions["right_ear"]])]
    assert 0.16 < (ears.amax(0) - ears.amin(0))[0] < 0.20
    assert 0.28 < tall < 0.36
    assert width < 0.24
    assert head.template[head.regions["nose"], 2].max() == head.template[:, 2].max(), "the nose leads"
    assert head.joints[3, 0] > 0 > head.joints[4, 0], "the left eye is at +x"


def test_template_is_its_own_mirror_image(head):
    vertices = head.template.numpy()
    mirrored = vertices * [-1, 1, 1]
    distance, _ = cKDTree(vertices).query(mirrored)
    assert distance.max() < 1e-7


def test_faces_are_symmetric_sound_and_point_outwards(head):
    vertices, faces = head.template.double().numpy(), head.faces.numpy()
    areas = np.linalg.norm(face_normals(vertices, faces), axis=1) / 2
    assert areas.min() > 1e-9, "no degenerate face (m^2)"
    mesh = neutral_mesh()
    skin = mesh.of("skin")[faces].all(1)
    centre = vertices[faces].mean(1)
    outwards = (face_normals(vertices, faces) * (centre - [0, 0, -0.01])).sum(1)
    neck = centre[:, 1] < -0.1
    assert (outwards[skin & ~neck] > 0).mean() > 0.97  # nostrils, lips and sockets may turn away
    for part in ("left_eyeball", "right_eyeball"):
        own = mesh.of(part)[faces].all(1)
        middle = head.joints[3 if part.startswith("left") else 4].numpy()
        assert ((face_normals(vertices, faces)[own] * (centre[own] - middle)).sum(1) > 0).all()


def test_skin_is_manifold_with_the_openings_it_should_have(head):
    mesh = neutral_mesh()
    faces = mesh.faces
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), 1)
    directed = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    assert len(np.unique(directed, axis=0)) == len(directed), "neighbours are oriented alike"
    unique, counts = np.unique(edges, axis=0, return_counts=True)
    assert counts.max() == 2
    border = unique[counts == 1]
    open_parts = {int(p) for p in np.unique(mesh.part[border])}
    ring = set(mesh.named["neck_ring"].tolist())
    skin_border = border[(mesh.part[border] == 0).all(1)]
    assert set(skin_border.ravel().tolist()) == ring, "the skin is open at the neck only: eyes and mouth are lined"
    assert {PARTS[p] for p in open_parts} == set(PARTS) - {"mouth"}


def test_uv_triangles_are_in_the_square_and_none_is_flipped(head):
    assert head.uvs.min() >= 0
    assert head.uvs.max() <= 1
    assert signed_uv_areas(head).min() > 1e-9


def test_uv_islands_do_not_overlap(head):
    """Islands are disjoint rectangles; inside one, unflipped triangles that overlapped would outgrow it."""
    rects = list(ISLANDS.values())
    for i, a in enumerate(rects):
        for b in rects[i + 1 :]:
            assert a.right <= b.left or b.right <= a.left or a.top <= b.bottom or b.top <= a.bottom
    corners = head.uvs[head.uv_faces].numpy()
    areas, raster, owned = signed_uv_areas(head), uv_raster(head, 1024) >= 0, 0
    for name, rect in ISLANDS.items():
        low, high = np.array([rect.left, rect.bottom]) - 1e-6, np.array([rect.right, rect.top]) + 1e-6
        own = ((corners >= low) & (corners <= high)).all((1, 2))
        owned += own.sum()
        rows = slice(math.ceil((1 - rect.top) * 1024), math.floor((1 - rect.bottom) * 1024))
        columns = slice(math.ceil(rect.left * 1024), math.floor(rect.right * 1024))
        # v points up: the raster above is drawn with v down, so look at it upside down.
        painted = raster[::-1][rows, columns].mean()
        assert areas[own].sum() <= (rect.right - rect.left) * (rect.top - rect.bottom) * (1 + 1e-4), name
        assert painted > 0.93, name
    assert owned == len(head.uv_faces), "every triangle lies inside one island"


@pytest.mark.parametrize(("size", "low", "high"), [(128, 14_000, 16_384), (256, 58_000, 65_536)])
def test_uv_raster_covers_what_training_counts_on(head, size, low, high):
    assert low <= (uv_raster(head, size) >= 0).sum() <= high


def test_face_gets_most_of_the_texture(head):
    mesh = neutral_mesh()
    front = mesh.of("skin")[head.faces.numpy()].all(1) & (np.abs(mesh.angle[head.faces.numpy()]).max(1) < 80)
    assert signed_uv_areas(head)[front].sum() > 0.38


def test_weights_sum_to_one(head):
    assert head.skin_weights.min() >= 0
    torch.testing.assert_close(head.skin_weights.sum(1), torch.ones(head.vertex_count))


def test_regions_are_complete_and_say_what_they_mean(head):
    assert set(head.regions) >= REGIONS
    for name, rows in head.regions.items():
        assert rows.dtype == np.int64, name
        assert len(rows) > 5, name
        assert len(set(rows.tolist())) == len(rows), name
    x = head.template[:, 0].numpy()
    for part in ("eyeball", "ear", "eyelids"):
        assert (x[head.regions[f"left_{part}"]] > 0).all()
        assert (x[head.regions[f"right_{part}"]] < 0).all()
    assert not set(head.regions["face"]) & set(head.regions["neck"])


def test_neck_ring_is_an_ordered_loop_at_the_bottom(head):
    ring = head.regions["neck_ring"]
    edges = {
        tuple(sorted(pair)) for face in head.faces.tolist() for pair in zip(face, face[1:] + face[:1], strict=True)
    }
    assert all(tuple(sorted(pair)) in edges for pair in zip(ring.tolist(), np.roll(ring, -1).tolist(), strict=True))
    assert head.template[ring, 1].max() < head.template[:, 1].min() + 0.003


def test_identities_are_independent_and_of_plausible_size(head):
    flat = head.shape_directions.reshape(head.shape_count, -1).double()
    unit = flat / flat.norm(dim=1, keepdim=True)
    singular = torch.linalg.svdvals(unit)
    assert singular[-1] > 0.05, "no direction is nearly a mixture of the others"
    assert singular[0] / singular[-1] < 60
    largest = head.shape_directions.norm(dim=-1).amax(1)
    for name, size in zip(head.shape_names, largest.tolist(), strict=True):
        assert 0.0002 < size < 0.008, f"{name}: a standard deviation of {1000 * size:.1f} mm"


def test_identities_are_smooth(head):
    """Neighbours move nearly alike: at most 0.6 of an edge's length apart per standard deviation."""
    mesh = neutral_mesh()
    faces = mesh.faces[mesh.of("skin")[mesh.faces].all(1)]
    pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    length = np.linalg.norm(mesh.points[pairs[:, 0]] - mesh.points[pairs[:, 1]], axis=1) / 1000
    for name, direction in zip(head.shape_names, head.shape_directions.numpy(), strict=True):
        apart = np.linalg.norm(direction[pairs[:, 0]] - direction[pairs[:, 1]], axis=1)
        assert (apart / np.maximum(length, 0.001)).max() < 0.85, name


def test_eyes_go_where_their_joints_go(head):
    for joint, part in ((3, "left_eyeball"), (4, "right_eyeball")):
        balls = head.shape_directions[:, head.regions[part]]
        assert torch.equal(balls, head.joint_shape_directions[:, joint : joint + 1].expand_as(balls))
    distance = head.joint_shape_directions[head.shape_names.index("eye_distance")]
    assert distance[3, 0] > 0.001
    assert distance[4, 0] < -0.001


def test_random_people_keep_their_shape(head):
    """No face of the skin turns over, no eyeball comes through the lids' skin, at two standard deviations."""
    generator = torch.Generator().manual_seed(3)
    before = face_normals(head.template.numpy(), head.faces.numpy())
    mesh = neutral_mesh()
    skin = mesh.of("skin")[mesh.faces].all(1)
    for _ in range(8):
        params = head.neutral()
        params.shape = torch.randn(1, head.shape_count, generator=generator).clamp(-2, 2)
        after = face_normals(head(params)[0].numpy(), head.faces.numpy())
        assert ((before * after).sum(1)[skin] > 0).mean() > 0.985


def test_it_is_the_same_every_time(head):
    assert builtin_head() is head
    builtin_head.cache_clear()
    neutral_mesh.cache_clear()
    again = builtin_head()
    assert torch.equal(again.template, head.template)
    assert torch.equal(again.shape_directions, head.shape_directions)
    assert torch.equal(again.expression_directions, head.expression_directions)


def test_arkit_names_are_shapes_or_joints(head):
    assert len(ARKIT) == 52
    assert not set(head.expression_names) & set(ARKIT_JOINTS)
    assert set(ARKIT) <= set(head.expression_names) | set(ARKIT_JOINTS)
