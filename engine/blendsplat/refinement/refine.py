# SPDX-License-Identifier: Apache-2.0
"""A clip's fit, confirmed by its pictures: what the person looks like and where the head is, in turn, coarse to fine.

The appearance (appearance.py) is the tracker's own: no avatar takes part, and every frame is treated alike, whether it
is trained on later or held out. With the appearance known, each frame is a small least-squares problem of the samples'
colours, the irises, the landmarks, the prior and the temporal terms (fitting/solver.py, fitting/temporal.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from blendsplat.fitting.fit_options import FitOptions
from blendsplat.fitting.frame_problem import one_thread
from blendsplat.fitting.initial_poses import iris_confidence
from blendsplat.fitting.landmark_model import DEPTH, NECK
from blendsplat.fitting.person_fit import choose_keyframes
from blendsplat.fitting.shared_unknowns import fit_clip_unknowns
from blendsplat.fitting.solver import fit_frames_with_systems, in_chunks
from blendsplat.fitting.temporal import fit_together
from blendsplat.geometry import matrix_to_rotvec, rotvec_to_matrix
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance, without_lost
from blendsplat.landmarks import points as pts
from blendsplat.progress import Progress
from blendsplat.refinement.appearance import Appearance, learn_appearance
from blendsplat.refinement.clip_state import ClipState, refined_performance, start_state, weighed_landmarks
from blendsplat.refinement.confidence import FRAME, confidences, of_frames
from blendsplat.refinement.iris_term import IrisTerm
from blendsplat.refinement.irises import find_irises
from blendsplat.refinement.judge import eyes_in_sight, sharpness, tints, unseen_eyes
from blendsplat.refinement.photometric_term import PhotometricTerm, look_up
from blendsplat.refinement.pictures import Pictures, ReadPicture, read_pictures
from blendsplat.refinement.refine_options import RefineOptions
from blendsplat.refinement.regions import REGIONS, regions_of_samples
from blendsplat.refinement.sight import see

SEEN_OFTEN = 3.0  # frames' worth of sight below which a sample's colour is not known
UNCONFIRMED = 0.3  # confidence below which a frame without landmarks stays lost
LEAST_FRAMES = 8
LEAST_TURN = np.radians(2.5)  # for the shape: the root of the mean square
FACE, FACE_IN_MATTE = ("face", "nose", "lips", "left_eyelids", "right_eyelids"), 0.85
BURNT, FACE_BURNT = 0.985, 0.3  # of 1: a clipped channel; more of the face burnt than that tells no shape
JUDGED = 28.0  # pixels between the eyes of the pictures by which a fit is judged that they do not move
BATCH = 16


@dataclass(frozen=True)
class Look:
    """What was learned of B frames at the present unknowns: the person's appearance, the light on each sample and how
    well it is seen [B,N]."""

    appearance: Appearance
    shade: Tensor
    sight: Tensor
    pictures: Pictures


def refine_clip(
    head: HeadModel, found: Performance, image: ReadPicture, matte: ReadPicture | None, pixels: np.ndarray,
    options: RefineOptions | None = None, fit: FitOptions | None = None, shots: np.ndarray | None = None,
    progress: Progress | None = None,
) -> Performance:  # fmt: skip
    """``found``, fitted to the landmarks [F,478,2], moved until the pictures confirm it.

    image, matte: a frame's picture [H,W,3] and matte [H,W], uint8; fit: what was told to the fit (focal length,
    priors); shots: frames at which one is known to begin. Frames that the detector lost and the picture explains become
    valid.
    Fewer than LEAST_FRAMES frames with a face stay as they are. Raises Cancelled; ``found`` is not changed.
    """
    options, fit, progress = options or RefineOptions(), fit or FitOptions(), progress or Progress()
    if (found.valid & np.isfinite(pixels).all((1, 2))).sum() < LEAST_FRAMES:
        return found  # too few pictures to know what is always the same
    state = start_state(head, found, pixels, options, fit, shots)
    apart = float(np.median(state.seen.eye_distance))
    scales = [min(level.eyes_apart / apart, 1.0) for level in options.levels]
    steps, done = sum(level.rounds for level in options.levels) + 1, 0
    irises = _Irises(image, pixels)
    with one_thread(), read_pictures(irises.watch, matte, state.seen.rows, scales[-1], progress) as finest:
        iris = irises.term(state)
        inside, burnt = faces_shown(state, finest)
        if inside < FACE_IN_MATTE:
            finest.planes[..., 3] = 255  # in place: a long clip's lie in a file
        # The shape that the landmarks' fit pressed into wrong mattes is no start for the lens; burnt skin tells none.
        turns = tells_shape(state) and inside >= FACE_IN_MATTE and burnt < FACE_BURNT
        for level, scale in zip(options.levels, scales, strict=True):
            shown = finest.at_scale(scale)
            for turn in range(level.rounds):
                progress.update("refine", done, steps, f"at {shown.scale:.0%} of the size")
                progress.check()
                look = learn_look(state, shown)
                if turns and turn < level.person:
                    state = _fit_person(state, look, iris, options)
                    look = learn_look(state, shown)
                state = _fit_frames(state, look, iris, options)
                done += 1
        progress.update("refine", done, steps, "what the pictures confirm")
        frame, regions = _judge(state, learn_look(state, finest), irises)
    progress.update("refine", steps, steps)
    return _told(state, found, frame, regions)


def judge_clip(
    head: HeadModel, found: Performance, image: ReadPicture, matte: ReadPicture | None, pixels: np.ndarray,
    fit: FitOptions | None = None, shots: np.ndarray | None = None, progress: Progress | None = None,
) -> Performance:  # fmt: skip
    """``found`` as it is, with what the pictures confirm of it: for a clip whose fit stays the landmarks'.

    Arguments, what is too short and what is raised as in refine_clip.
    """
    options, progress = RefineOptions(), progress or Progress()
    if (found.valid & np.isfinite(pixels).all((1, 2))).sum() < LEAST_FRAMES:
        return found
    state = start_state(head, found, pixels, options, fit or FitOptions(), shots)
    scale = min(JUDGED / float(np.median(state.seen.eye_distance)), 1.0)
    progress.update("refine", 0, 1, "what the pictures confirm")
    irises = _Irises(image, pixels)
    with one_thread(), read_pictures(irises.watch, matte, state.seen.rows, scale, progress) as pictures:
        if faces_shown(state, pictures)[0] < FACE_IN_MATTE:
            pictures.planes[..., 3] = 255
        frame, regions = _judge(state, learn_look(state, pictures), irises)
    progress.update("refine", 1, 1)
    return _with_confidence(found, state, state.told, frame, regions)


def tells_shape(state: ClipState) -> bool:
    """Whether the frames show the head from sides that differ enough to tell its shape and the focal length."""
    turned = rotvec_to_matrix(state.unknowns[torch.as_tensor(state.told), NECK])
    middle = rotvec_to_matrix(state.unknowns[:, NECK].median(0).values)
    angles = matrix_to_rotvec(middle.mT @ turned).norm(dim=-1)
    return float(angles.square().mean().sqrt()) > LEAST_TURN


def faces_shown(state: ClipState, pictures: Pictures) -> tuple[float, float]:
    """Shares of the faces within the mattes, which only wrong ones cut, and burnt in one of the channels."""
    samples = state.models.samples
    face = [number for number, name in enumerate(samples.regions) if name in FACE]
    rows = torch.linspace(0, len(state.unknowns) - 1, min(len(state.unknowns), 24)).round().long()
    seen = state.projected(state.own(state.models.sample), rows)[:, torch.as_tensor(np.isin(samples.region, face))]
    colours, _, inside = look_up(pictures, rows, seen)
    return float(inside.float().mean()), float((colours.amax(-1) > BURNT).float().mean())


class _Irises:
    """Finds the irises in each picture that is read for the refinement, at its full size."""

    def __init__(self, image: ReadPicture, pixels: np.ndarray) -> None:
        self._image, self._pixels = image, pixels
        self._found: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def watch(self, frame: int) -> np.ndarray:
        """The frame's picture."""
        picture = self._image(frame)
        if frame not in self._found:
            self._found[frame] = find_irises(picture, self._pixels[frame])
        return picture

    def found(self, state: ClipState) -> np.ndarray:
        """[B,2] confidences (left, right) of the state's frames."""
        return np.stack([self._found[int(row)][1] for row in state.seen.rows])

    def term(self, state: ClipState) -> IrisTerm | None:
        """The term for the state's frames; None for a head without eyeballs."""
        if state.models.iris is None:
            return None
        places = np.stack([self._found[int(row)][0] for row in state.seen.rows])
        sure = self.found(state)
        open_ = iris_confidence(state.seen.openings)
        sure = sure * state.told[:, None] * np.stack([open_[:, pts.LEFT_IRIS[0]], open_[:, pts.RIGHT_IRIS[0]]], 1)
        return IrisTerm(state.models.iris, *(torch.as_tensor(part, dtype=torch.float32) for part in (places, sure)))


def learn_look(state: ClipState, pictures: Pictures) -> Look:
    """The person's appearance where the state puts the head in the pictures."""
    models, problem = state.models, state.problem
    person = models.head.personalise(*models.split(state.person))
    view = see(person, models.samples, state.unknowns, problem.root, problem.focal, problem.centre, state.size)
    own, everyone = state.own(models.sample), torch.arange(len(state.unknowns))
    parts = [look_up(pictures, rows, state.projected(own, rows)) for rows in torch.split(everyone, BATCH)]
    colours, inside = torch.cat([part[0] for part in parts]), torch.cat([part[2] for part in parts])
    sight = view.sight * inside
    appearance = learn_appearance(colours, view.normals, sight * torch.as_tensor(state.told)[:, None])
    return Look(appearance, appearance.shade(view.normals, everyone), view.sight, pictures)


def picture_term(state: ClipState, look: Look, votes: float) -> PhotometricTerm:
    """The solver's term for all frames, a sample counting ``votes``; its model has the person's directions."""
    known = (look.appearance.seen > SEEN_OFTEN).float()
    wanted = look.appearance.albedo * look.shade[..., None]
    everyone = torch.arange(len(wanted))
    return PhotometricTerm(
        state.models.sample, look.pictures, wanted, look.appearance.noise, look.sight * known * votes, everyone
    )


def _fit_frames(state: ClipState, look: Look, iris: IrisTerm | None, options: RefineOptions) -> ClipState:
    """Every frame by itself, then all together."""
    problem = weighed_landmarks(state, options, iris is not None, shape=False)
    terms = [term for term in (picture_term(state, look, options.votes), iris) if term is not None]
    problem = replace(problem, terms=tuple(replace(term, model=state.own(term.model)) for term in terms))
    everything = torch.ones(state.unknowns.shape[1], dtype=torch.bool)
    unknowns, systems = fit_frames_with_systems(problem, state.unknowns, everything, options.iterations)
    everyone = torch.ones(len(unknowns), dtype=torch.bool)
    together = fit_together(problem, unknowns, everyone, everything, state.smooth, 1, systems)
    return replace(state, unknowns=together)


def _fit_person(state: ClipState, look: Look, iris: IrisTerm | None, options: RefineOptions) -> ClipState:
    """Shape, offsets and focal length over spread keyframes; the other frames are carried along."""
    told = np.flatnonzero(state.told)
    keys = choose_keyframes(state.unknowns[torch.as_tensor(told)], state.seen.frames(told))
    rows = torch.as_tensor(told[keys])
    problem = replace(weighed_landmarks(state, options, iris is not None, shape=True), model=state.models.landmark)
    terms = [term for term in (picture_term(state, look, options.person_votes), iris) if term is not None]
    problem = replace(problem, terms=tuple(terms)).frames(rows)
    everything = torch.ones(state.unknowns.shape[1], dtype=torch.bool)
    fit = fit_clip_unknowns(
        problem, state.unknowns[rows], state.person, everything, state.models.prior, options.person_iterations
    )
    unknowns = state.unknowns.clone()
    unknowns[:, DEPTH] *= float(fit.focal / state.problem.focal)
    unknowns[rows] = fit.unknowns
    own = state.models.landmark.shaped(fit.shape).without_shape()
    return replace(
        state, problem=replace(state.problem, model=own, focal=fit.focal), unknowns=unknowns, person=fit.shape
    )


def _judge(state: ClipState, look: Look, irises: _Irises) -> tuple[np.ndarray, np.ndarray]:
    """Confidence of frames [B] and regions [B,R]."""
    term = replace(picture_term(state, look, 1.0), model=state.own(state.models.sample))
    problem = replace(state.problem, terms=(term,))
    region = regions_of_samples(state.models.head, state.models.samples)
    face = torch.as_tensor(np.isin(region, [REGIONS.index(name) for name in FRAME]))

    def missed(rows: slice) -> tuple[Tensor, Tensor]:
        pixels, part = state.projected(term.model, rows), term.frames(rows)
        wanted = term.wanted[part.numbers]
        colours, _, _ = look_up(term.pictures, part.numbers, pixels)
        light = tints(colours[:, face], wanted[:, face], term.votes[part.numbers][:, face])
        return part.missed(pixels, light), sharpness(term.pictures, pixels[:, face], part.numbers)

    parts = in_chunks(problem, missed)
    _, regions = confidences(
        torch.cat([part[0] for part in parts]), term.votes, region, torch.cat([part[1] for part in parts])
    )
    unseen = unseen_eyes(
        irises.found(state), state.seen.openings, state.told, eyes_in_sight(term.votes, region)
    )  # fmt: skip
    for eye, name in enumerate(("left eye", "right eye")):
        regions[unseen[:, eye], REGIONS.index(name)] = 0
    return of_frames(regions), regions


def _told(state: ClipState, found: Performance, frame: np.ndarray, regions: np.ndarray) -> Performance:
    """The performance with its confidence; followed frames that no picture confirms are lost."""
    refined = refined_performance(state, found)
    kept = state.told | (frame > UNCONFIRMED)
    rows = state.seen.rows[kept]
    valid = np.zeros(found.frame_count, bool)
    valid[rows] = True
    faces = int(valid.sum())
    errors = refined.landmark_errors[found.valid]
    figures = found.figures | {
        "landmark_error": float(errors.mean()), "landmark_error_worst": float(errors.max()),
        "frames_with_face": faces, "frames_without_face": found.frame_count - faces,
        "frames_followed": int((~state.told & kept).sum()),
        "field_of_view_degrees": float(np.degrees(2 * np.arctan(max(state.size) / 2 / refined.K[0, 0]))),
    }  # fmt: skip
    told = replace(refined, valid=valid, figures=figures)
    return without_lost(_with_confidence(told, state, kept, frame, regions))


def _with_confidence(
    performance: Performance, state: ClipState, kept: np.ndarray, frame: np.ndarray, regions: np.ndarray
) -> Performance:
    """``performance`` with the confidence of the state's frames [B] and of their regions [B,R], where ``kept`` [B]."""
    rows = state.seen.rows[kept]
    confidence = np.zeros(performance.frame_count, np.float32)
    by_region = np.zeros((performance.frame_count, len(REGIONS)), np.float32)
    confidence[rows], by_region[rows] = frame[kept], regions[kept]
    figures = performance.figures | {"confidence": float(frame[kept].mean())}
    return replace(
        performance, confidence=confidence, region_confidence=by_region, regions=REGIONS, figures=figures
    )  # fmt: skip
