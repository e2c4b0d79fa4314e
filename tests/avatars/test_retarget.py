# SPDX-License-Identifier: Apache-2.0
"""Another clip's performance on an avatar: re-based it looks the same to its camera, within what was learned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from blendsplat.avatars.rendering import render_performance
from blendsplat.avatars.retarget import Reference, head_rotations, rebased
from blendsplat.avatars.rgbavatar.model import RGBAvatar
from blendsplat.geometry import project_points
from blendsplat.heads.performance import Performance
from tiny_clip import tiny_avatar, tiny_head, tiny_tracking


def elsewhere(performance: Performance, seed: int = 3) -> Performance:
    """Somebody who sits half a metre away and holds the head turned by 40 degrees, seen by a camera of their own."""
    rng = np.random.default_rng(seed)
    root = performance.root_pose + np.float32([0.2, 0.7, -0.1])
    shift = np.float32([0.4, -0.2, 0.3])
    moved = performance.translation + shift + 0.02 * rng.normal(size=performance.translation.shape)
    camera = np.eye(4, dtype=np.float32)
    camera[:3, 3] = -shift
    viewmat = performance.viewmat @ camera
    return replace(performance, root_pose=root, translation=moved.astype(np.float32), viewmat=viewmat)


def avatar_of(own: Performance) -> RGBAvatar:
    avatar = tiny_avatar(tiny_head())
    avatar.reference = replace(Reference.of(own.params()), performance=own.identity)
    features = avatar.features(own.params())
    avatar.feature_range = torch.stack([features.amin(0), features.amax(0)])
    return avatar


@pytest.fixture
def own() -> Performance:
    return tiny_tracking(tiny_head(), 12)


def test_its_means_become_the_references(own: Performance) -> None:
    reference = Reference.of(own.params())
    moved = rebased(elsewhere(own), reference, torch.zeros(3))
    again = Reference.of(moved.params())
    torch.testing.assert_close(again.translation, reference.translation, atol=1e-6, rtol=0)
    torch.testing.assert_close(again.rotation, reference.rotation, atol=1e-6, rtol=0)


def test_frames_without_a_face_do_not_count(own: Performance) -> None:
    foreign = elsewhere(own)
    foreign.translation[3], foreign.valid[3] = 50.0, False
    moved = rebased(foreign, Reference.of(own.params()), torch.zeros(3))
    assert np.abs(moved.translation[foreign.valid]).max() < 1


def test_its_camera_sees_the_head_as_before(own: Performance) -> None:
    head, foreign = tiny_head(), elsewhere(own)
    head.joints = head.joints + torch.tensor([[0.01, -0.15, 0.02]])
    moved = rebased(foreign, Reference.of(own.params()), head.joints[0])
    pictures = []
    for performance in (foreign, moved):
        view, K = torch.as_tensor(performance.viewmat).expand(12, 4, 4), torch.as_tensor(performance.K).expand(12, 3, 3)
        pictures.append(project_points(head(performance.params()), view, K))
    torch.testing.assert_close(pictures[1], pictures[0], atol=2e-3, rtol=0)  # pixels
    relative = [head_rotations(p.params())[1:] @ head_rotations(p.params())[0].T for p in (foreign, moved)]
    assert not torch.allclose(relative[0], relative[1], atol=1e-3), "the world is turned, not the picture"


def test_the_own_clip_is_left_alone(own: Performance) -> None:
    avatar = avatar_of(own)
    assert avatar.owns(own) and avatar.adopted(own) is own
    assert not avatar.owns(elsewhere(own))
    avatar.reference = None
    assert avatar.adopted(elsewhere(own)).translation[0, 0] > 0.3, "an older file does not say: as it comes"


def test_features_stay_within_what_training_saw(own: Performance) -> None:
    avatar = avatar_of(own)
    wild = avatar.adopted(replace(elsewhere(own), expression=20 * own.expression)).params()
    low, high = avatar.feature_range
    features = avatar.held_back(avatar.features(wild))
    assert (features >= low).all() and (features <= high).all()
    assert not torch.equal(avatar.weights(wild), avatar.weights(wild, bounded=True))
    torch.testing.assert_close(avatar.weights(own.params()), avatar.weights(own.params(), bounded=True))


def test_before_and_after(own: Performance) -> None:
    """The same face, filmed from elsewhere, plays on the avatar as in the avatar's own clip; before, its weights were
    those of places that no training had seen."""
    avatar, foreign = avatar_of(own), elsewhere(own, seed=5)
    as_own = avatar.weights(own.params())
    before = (avatar.weights(foreign.params()) - as_own).norm(dim=1).mean()
    after = (avatar.weights(avatar.adopted(foreign).params(), bounded=True) - as_own).norm(dim=1).mean()
    assert after < 0.1 * before, (float(before), float(after))
    shown = [rgba for rgba, _ in render_performance(avatar, foreign, 24, 24)]
    assert max(frame[..., 3].max() for frame in shown) > 0.5, "in front of its own camera"


def test_a_part_of_the_own_clip_is_the_own_clip(own: Performance) -> None:
    avatar = avatar_of(own)
    part = own.select([3]).select([0])
    assert avatar.owns(part) and avatar.adopted(part) is part
    assert not avatar.owns(elsewhere(own).select([3]))


def test_a_photograph_keeps_its_pose(own: Performance) -> None:
    """One frame has no mean rotation of its own: turned to the reference's, it would lose what it shows."""
    photograph = replace(elsewhere(own).select([5]), part_of="")
    moved = rebased(photograph, Reference.of(own.params()), torch.zeros(3)).params()
    torch.testing.assert_close(head_rotations(moved), head_rotations(photograph.params()))
    torch.testing.assert_close(moved.translation[0], own.params().translation.mean(0))
