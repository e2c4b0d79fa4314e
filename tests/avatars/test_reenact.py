# SPDX-License-Identifier: Apache-2.0
"""One person's performance as another would give it: from neutral face to neutral face, by region, steadied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from acting import acted
from blendsplat.avatars.reenact import Reenactment, neutral_of, reenacted
from blendsplat.avatars.retarget import Reference, rebased
from blendsplat.avatars.rgbavatar.model import RGBAvatar
from blendsplat.errors import FormatError, InputError
from blendsplat.heads.convert import convert_performance
from blendsplat.heads.face_motions import FaceMotions
from blendsplat.heads.face_regions import expression_parts, region_of
from blendsplat.heads.head_map import map_heads
from blendsplat.heads.load import load_head
from blendsplat.heads.model import HeadModel
from blendsplat.heads.neutral import Neutral
from blendsplat.heads.performance import Performance
from blendsplat.heads.portrait import region_mask
from other_heads import flame_like
from tiny_clip import tiny_avatar, tiny_head, tiny_tracking

ANN = {"mouthSmileLeft": 0.25, "mouthSmileRight": 0.2, "browOuterUpLeft": 0.15, "eyeBlinkLeft": 0.1}
BEN = {"mouthFrownLeft": 0.2, "browDownRight": 0.2, "eyeBlinkLeft": 0.3, "eyeBlinkRight": 0.3, "cheekPuff": 0.1}
FACE = ("expression", "jaw_pose", "eyes_pose", "eyelids")
PLACE = ("root_pose", "neck_pose", "translation")


@pytest.fixture(scope="module", name="human")
def human_head() -> HeadModel:
    return load_head("human", landmarks=False)


@pytest.fixture(scope="module", name="ann")
def anns_clip(human: HeadModel) -> Performance:
    return acted(human, ANN)


@pytest.fixture(scope="module", name="ben")
def bens_clip(human: HeadModel) -> Performance:
    """Another person at another frame rate."""
    return acted(human, BEN, frames=240, fps=60.0, seed=7, talk=0.25)


def neutral(performance: Performance, head: HeadModel) -> Neutral:
    found = neutral_of(performance, head)
    assert found is not None
    return found


def lids(head: HeadModel) -> list[int]:
    return [head.expression_names.index(f"eyeBlink{side}") for side in ("Left", "Right")]


def same(a: Performance, b: Performance, names: tuple[str, ...], atol: float = 0.0) -> bool:
    return all(np.allclose(getattr(a, name), getattr(b, name), atol=atol, rtol=0) for name in names)


def test_the_own_performance_is_the_very_same(human: HeadModel, ann: Performance) -> None:
    assert reenacted(ann, human, neutral(ann, human), Reenactment(), own=True) is ann
    assert same(reenacted(ann, human, neutral(ann, human), Reenactment()), ann, (*FACE, *PLACE), 1e-6), "found anew"
    assert reenacted(ann, human, None, Reenactment()) is ann, "nobody knows where to go"


def test_expressions_arrive_about_the_avatars_neutral(human: HeadModel, ann: Performance, ben: Performance) -> None:
    """Ann's neutral + (Ben - Ben's neutral), lids excepted; where the head is, is untouched."""
    a, b = neutral(ann, human), neutral(ben, human)
    played = reenacted(ben, human, a, Reenactment())
    want = a.expression + (ben.expression - b.expression)
    others = np.setdiff1d(np.arange(human.expression_count), lids(human))
    inside = (want[:, others] >= 0) & (want[:, others] <= 1)
    assert inside.mean() > 0.7
    np.testing.assert_allclose(played.expression[:, others], np.clip(want[:, others], 0, 1), atol=1e-6)
    np.testing.assert_allclose(played.jaw_pose[:, 0], a.jaw_pose[0] + ben.jaw_pose[:, 0] - b.jaw_pose[0], atol=5e-3)
    again = neutral(played, human)
    np.testing.assert_allclose(again.expression, a.expression, atol=0.02)
    np.testing.assert_allclose(again.eyes_pose, a.eyes_pose, atol=0.02)
    assert same(played, ben, PLACE) and played.identity != ben.identity
    np.testing.assert_array_equal(played.viewmat, ben.viewmat)


def test_who_drives_does_not_show(human: HeadModel, ann: Performance) -> None:
    """The same acting by two people with other habits is the same on Ann."""
    quiet, odd = acted(human, {}), acted(human, {"cheekPuff": 0.3, "mouthLeft": 0.2, "browDownLeft": 0.25})
    a = neutral(ann, human)
    shown = [reenacted(p, human, a, Reenactment()).expression for p in (quiet, odd)]
    np.testing.assert_allclose(shown[0], shown[1], atol=0.03)
    assert np.abs(quiet.expression - odd.expression).max() > 0.25


def test_lips_part_as_far_as_the_drivers(human: HeadModel, ann: Performance) -> None:
    """Of somebody whose tracker saw an open jaw and mouthClose at rest: in frames without mouthClose there is nothing
    to take away, and the jaw's part alone would press the lips together."""
    motions, column = FaceMotions.of(human), human.expression_names.index("mouthClose")
    driver = acted(human, {})
    still = np.arange(120) < 36  # while the face rests
    driver.expression[still, column] = 0.2
    driver.jaw_pose[still, 0] -= 0.2 * motions.opening[column] / motions.opening[-3]
    played = reenacted(driver, human, neutral(ann, human), Reenactment())
    gaps = [np.concatenate([p.expression, p.jaw_pose], 1) @ motions.opening for p in (played, driver)]
    rest = neutral(ann, human)
    at_rest = np.concatenate([rest.expression, rest.jaw_pose]) @ motions.opening
    assert np.ptp(gaps[1]) > 0.01
    np.testing.assert_allclose(gaps[0], gaps[1] + at_rest, atol=1e-3)
    assert played.jaw_pose[0, 0] < driver.jaw_pose[0, 0] - 0.05, "and it rests as Ann does"


def test_eyes_close_and_open(human: HeadModel, ann: Performance, ben: Performance) -> None:
    """Ben's lids hang: a blink of his is a whole one on Ann, and her open eyes are as open as hers."""
    a, b, columns = neutral(ann, human), neutral(ben, human), lids(human)
    played = reenacted(ben, human, a, Reenactment()).expression[:, columns]
    given = ben.expression[:, columns]
    assert (played[given > 0.97] > 0.95).all() and (given > 0.97).any()
    resting = np.abs(given - b.expression[columns]).max(1) < 0.01
    np.testing.assert_allclose(played[resting], np.tile(a.expression[columns], (resting.sum(), 1)), atol=0.02)
    assert played.min() >= 0 and played.max() <= 1


@pytest.mark.parametrize("region", ["mouth", "eyes", "brows"])
def test_a_region_without_strength_rests(human: HeadModel, ann: Performance, ben: Performance, region: str) -> None:
    """It is at the avatar's neutral, and nothing else moves otherwise than before."""
    a = neutral(ann, human)
    whole = reenacted(ben, human, a, Reenactment())
    held = reenacted(ben, human, a, Reenactment(**{region: 0.0}))  # type: ignore[arg-type]
    mine = np.array([region_of(name) == region for name in human.expression_names])
    np.testing.assert_allclose(held.expression[:, mine], np.tile(a.expression[mine], (240, 1)), atol=1e-6)
    np.testing.assert_allclose(held.expression[:, ~mine], whole.expression[:, ~mine], atol=1e-6)
    for name, owner in (("jaw_pose", "mouth"), ("eyes_pose", "eyes")):
        value, want = getattr(held, name), getattr(a if owner == region else whole, name)
        np.testing.assert_allclose(value, np.broadcast_to(want, value.shape), atol=1e-6)
    assert same(held, whole, PLACE)


def test_a_head_without_strength_stands_still_where_it_is_on_average(human: HeadModel, ben: Performance) -> None:
    held = reenacted(ben, human, None, Reenactment(head=0.0))
    before, after = (Reference.of(p.params()[torch.as_tensor(p.valid)]) for p in (ben, held))
    assert np.ptp(held.neck_pose, axis=0).max() < 1e-6 and np.ptp(held.translation, axis=0).max() < 1e-6
    torch.testing.assert_close(after.translation, before.translation, atol=1e-5, rtol=0)
    torch.testing.assert_close(after.rotation, before.rotation, atol=1e-3, rtol=0)
    assert same(held, ben, FACE)
    half, whole = reenacted(ben, human, None, Reenactment(head=0.5)), ben
    angles = [Rotation.from_rotvec(p.neck_pose) * Rotation.from_rotvec(held.neck_pose).inv() for p in (half, whole)]
    np.testing.assert_allclose(2 * angles[0].magnitude(), angles[1].magnitude(), atol=1e-5)


def test_twice_the_strength_is_twice_as_far_within_the_heads_range(human: HeadModel, ben: Performance) -> None:
    b = neutral(ben, human)
    double = reenacted(ben, human, None, Reenactment(mouth=2.0, brows=2.0))
    want = b.expression + 2 * (ben.expression - b.expression)
    column = human.expression_names.index("mouthFunnel")
    np.testing.assert_allclose(double.expression[:, column], np.clip(want[:, column], 0, 1), atol=1e-5)
    assert double.expression.max() <= 1 and double.expression.min() >= 0
    turned = Rotation.from_rotvec(b.jaw_pose).inv() * Rotation.from_rotvec(double.jaw_pose)
    once = Rotation.from_rotvec(b.jaw_pose).inv() * Rotation.from_rotvec(ben.jaw_pose)
    np.testing.assert_allclose(turned.magnitude(), 2 * once.magnitude(), atol=5e-3)


def test_smoothing_calms_what_trembles_and_skips_what_is_not_there(human: HeadModel, ben: Performance) -> None:
    rng = np.random.default_rng(2)
    shaky = replace(ben, neck_pose=ben.neck_pose + np.float32(0.01) * rng.normal(size=(240, 3)).astype(np.float32))
    shaky.valid[100:110] = False
    shaky.neck_pose[100:110] = 99.0  # where no face is, anything may stand
    calm = reenacted(shaky, human, None, Reenactment(smooth=0.2))
    shown = np.flatnonzero(shaky.valid)
    assert np.abs(calm.neck_pose).max() < 1, "what is not valid holds its neighbours' values"
    tremble = [np.diff(p.neck_pose[shown], 2, axis=0).std() for p in (calm, shaky)]
    assert tremble[0] < 0.5 * tremble[1]
    assert np.abs(calm.neck_pose[shown] - ben.neck_pose[shown]).mean() < 0.02
    np.testing.assert_array_equal(shaky.timestamps, calm.timestamps)


def test_a_moment_keeps_its_expression(human: HeadModel, ann: Performance) -> None:
    """A photograph, or a take of a few frames, has no neutral of its own: its smile is not taken for one."""
    photograph = replace(acted(human, BEN, frames=120).select([60]), part_of="")
    assert reenacted(photograph, human, neutral(ann, human), Reenactment()) is photograph
    half = reenacted(photograph, human, neutral(ann, human), Reenactment(mouth=0.0))
    mine = [region_of(name) == "mouth" for name in human.expression_names]
    np.testing.assert_allclose(half.expression[0, mine], neutral(ann, human).expression[mine], atol=1e-6)
    assert reenacted(photograph, human, None, Reenactment(mouth=0.0)).expression[0, mine].max() == 0


def test_a_performance_without_a_face_is_refused(human: HeadModel, ben: Performance) -> None:
    with pytest.raises(InputError, match="face in none of its frames"):
        reenacted(replace(ben, valid=np.zeros(240, bool)), human, None, Reenactment())


def test_a_head_whose_expressions_have_no_names(human: HeadModel) -> None:
    """FLAME's way: no strength of the mouth leaves its lower face at rest, and the brows move on."""
    head = flame_like(human)
    source = acted(human, {}, resting=0.3)
    kept = [row for row, name in enumerate(human.expression_names) if not name.startswith("eyeBlink")]
    flat = head.expression_directions.flatten(1).numpy()
    goal = source.expression[:, kept] @ human.expression_directions[kept].flatten(1).numpy()
    mixed = np.linalg.lstsq(flat.T, goal.T, rcond=None)[0].T.astype(np.float32)
    performance = replace(
        source, expression=mixed, expression_names=head.expression_names, head_model=head.model_id,
        eyelids=source.expression[:, lids(human)],
    )  # fmt: skip
    held = reenacted(performance, head, None, Reenactment(mouth=0.0))
    still = neutral(performance, head)

    def moved(p: Performance, where: np.ndarray) -> float:
        faces = (p.expression - still.expression) @ flat
        return float(np.sqrt((faces.reshape(120, -1, 3)[:, where] ** 2).sum(2).mean()))

    low, high = head.template[:, 1].numpy() < -0.045, region_mask(human, "face") & (head.template[:, 1].numpy() > 0.05)
    assert moved(held, low) < 0.15 * moved(performance, low)
    assert moved(held, high) == pytest.approx(moved(performance, high), rel=0.1)
    np.testing.assert_allclose(held.jaw_pose, np.tile(still.jaw_pose, (120, 1)), atol=1e-6)
    assert sum(part.any() for part in expression_parts(head).values()) == 3


def test_across_heads_the_faces_do_the_same() -> None:
    """Somebody tracked with a head of nameless mixtures drives one with ARKit's names: the vertices agree."""
    human = load_head("human")
    source = flame_like(human)
    ann, rng = acted(human, ANN), np.random.default_rng(4)
    driver = acted(human, {}, frames=24)
    flat = source.expression_directions.flatten(1).numpy()
    shapes = [human.expression_names.index(name) for name in ("mouthSmileLeft", "mouthFunnel", "browInnerUp")]
    faces = np.zeros((24, human.expression_count), np.float32)
    faces[12:, shapes] = rng.uniform(0.4, 0.8, (12, 3))
    jaw = np.zeros((24, 3), np.float32)
    jaw[12:, 0] = 0.25
    goal = faces @ human.expression_directions.flatten(1).numpy()
    mixed = np.linalg.lstsq(flat.T, goal.T, rcond=None)[0].T.astype(np.float32)
    told = replace(
        driver, expression=mixed, jaw_pose=jaw, expression_names=source.expression_names, head=source.name,
        head_model=source.model_id, head_family="flame", eyelids=np.zeros((24, 2), np.float32),
    )  # fmt: skip
    carried = convert_performance(told, source, human, head_map=map_heads(source, human))
    played = reenacted(carried, human, neutral(ann, human), Reenactment())
    rest = neutral(ann, human)
    still = human.neutral()
    still.expression, still.jaw_pose = torch.tensor(rest.expression)[None], torch.tensor(rest.jaw_pose)[None]
    params = replace(played.params(), root_pose=torch.zeros(1, 3), neck_pose=torch.zeros(1, 3))
    params = replace(params, translation=torch.zeros(1, 3), eyes_pose=torch.zeros(1, 2, 3), shape=still.shape)
    have = (human(params) - human(still))[12:].numpy()
    want = human.neutral(24)
    want.expression, want.jaw_pose = torch.tensor(faces), torch.tensor(jaw)
    goals = (human(want) - human.template)[12:].numpy()
    where = region_mask(human, "lips", "face", "nose")
    for shown, asked in zip(have[:, where], goals[:, where], strict=True):
        ratio = np.linalg.norm(shown) / np.linalg.norm(asked)
        cosine = (shown * asked).sum() / np.linalg.norm(shown) / np.linalg.norm(asked)
        assert 0.8 < ratio < 1.2 and cosine > 0.9, (ratio, cosine)


def test_retargeting_after_it_is_as_before(human: HeadModel, ann: Performance, ben: Performance) -> None:
    """Where the head is held is re-based afterwards: strength of the head keeps the mean that it goes by."""
    reference = Reference.of(ann.params())
    for how in (Reenactment(), Reenactment(head=0.5)):
        moved = rebased(reenacted(ben, human, neutral(ann, human), how), reference, human.joints[0])
        again = Reference.of(moved.params()[torch.as_tensor(moved.valid)])
        torch.testing.assert_close(again.translation, reference.translation, atol=1e-4, rtol=0)
        torch.testing.assert_close(again.rotation, reference.rotation, atol=5e-3, rtol=0)


# --- the avatar's file


def test_the_file_keeps_the_neutral_face(tmp_path: Path) -> None:
    head = tiny_head()
    own, avatar = tiny_tracking(head, 24), tiny_avatar(head)
    avatar.reference = Reference.of(own.params(), own.identity, avatar.head)
    assert avatar.reference.face is not None
    avatar.save(tmp_path / "a.avatar.npz")
    from blendsplat.systems import load_avatar

    again = load_avatar(tmp_path / "a.avatar.npz")
    assert isinstance(again, RGBAvatar) and again.reference is not None and again.reference.face is not None
    for name in FACE:
        np.testing.assert_array_equal(getattr(again.reference.face, name), getattr(avatar.reference.face, name))


@pytest.mark.parametrize(
    ("array", "value", "says"),
    [
        ("neutral_expression", np.zeros(7, np.float32), "neutral_expression"),
        ("neutral_jaw_pose", np.array([np.nan, 0, 0], np.float32), "not finite"),
        ("neutral_eyes_pose", None, ""),
    ],
    ids=["another head's", "NaN", "gone"],
)
def test_a_damaged_neutral(tmp_path: Path, array: str, value: np.ndarray | None, says: str) -> None:
    """Wrong numbers are refused by name; where a part is gone, the file does not say what the neutral is."""
    from blendsplat.systems import load_avatar

    own, avatar = tiny_tracking(tiny_head(), 24), tiny_avatar(tiny_head())
    avatar.reference = Reference.of(own.params(), own.identity, avatar.head)
    avatar.save(tmp_path / "a.avatar.npz")
    with np.load(tmp_path / "a.avatar.npz") as file:
        arrays = {name: file[name] for name in file.files if name != array}
    np.savez(tmp_path / "b.avatar.npz", **arrays, **({} if value is None else {array: value}))
    if value is None:
        reference = load_avatar(tmp_path / "b.avatar.npz").reference
        assert reference is not None and reference.face is None
    else:
        with pytest.raises(FormatError, match=says):
            load_avatar(tmp_path / "b.avatar.npz")


def test_a_jaw_that_is_an_expression_is_closed_by_it(human: HeadModel, test_data: Callable[[str], Path]) -> None:
    """ICT's way."""
    ict = load_head(test_data("heads/ict_facekit/ict_facekit_packed.npz"), landmarks=False)
    opens = ict.expression_names.index("jawOpen")
    expression = np.zeros((30, ict.expression_count), np.float32)
    expression[:, opens] = 0.3 + 0.2 * np.sin(np.arange(30))
    talker = replace(
        acted(human, {}, frames=30), expression=expression, expression_names=ict.expression_names,
        head_model=ict.model_id, jaw_pose=np.zeros((30, 3), np.float32),
    )  # fmt: skip
    assert neutral(talker, ict).expression[opens] == pytest.approx(0, abs=1e-3)
