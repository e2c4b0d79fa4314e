# SPDX-License-Identifier: Apache-2.0
"""The parameters of every job kind, defined once: the protocol, the command line and their help texts all use these.

Unknown keys are refused by name, with the nearest known one; values are refused with what is allowed.
"""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo

from blendsplat.errors import InputError

_LONGEST_NAME, _LONGEST_PATH = 255, 4095  # bytes, letters
ABSOLUTE = {"absolute": True}  # validation context of the server, whose working folder nobody knows


def _check_letters(text: str) -> None:
    """Raise ValueError for what no system takes for a path, of whatever it may say."""
    if max(map(len, (*os.fsencode(text).replace(b"\\", b"/").split(b"/"), b""))) > _LONGEST_NAME:
        raise ValueError("has a name longer than a file's can be")
    if len(text) > _LONGEST_PATH:
        raise ValueError("is longer than a path can be")


def _plain_path(path: Path, info: ValidationInfo) -> Path:
    if "\0" in str(path) or (not path.name and not path.anchor and str(path) != "."):
        raise ValueError("is not a path")
    _check_letters(str(path))
    try:
        path = path.expanduser() if str(path).startswith("~") else path
    except RuntimeError as error:
        raise ValueError("names a user whom this machine does not know") from error
    if (info.context or {}).get("absolute") and not path.is_absolute():
        raise ValueError("must be an absolute path on the engine's machine")
    return path


def _plain_head(head: str, info: ValidationInfo) -> str:
    """A shipped head's name, which is a word, or a path: the server's must be absolute."""
    _check_letters(head)
    if (info.context or {}).get("absolute") and head and not head.isidentifier():
        _plain_path(Path(head), info)
    return head


def _plain_name(name: str, info: ValidationInfo) -> str:
    """A name, which is a word (with hyphens and dots), or a path: the server's must be absolute."""
    _check_letters(name)
    word = re.fullmatch(r"\w[\w.-]*", name) and not name.endswith(".toml")
    if (info.context or {}).get("absolute") and name and not word:
        _plain_path(Path(name), info)
    return name


def _plain_matte(matte: str, info: ValidationInfo) -> str:
    """auto, alpha, none, or a folder: the server's must be absolute."""
    if (info.context or {}).get("absolute") and matte not in ("auto", "alpha", "none"):
        _plain_path(Path(matte), info)
    return matte


def _file_name(name: str) -> str:
    if Path(name).name != name or name in ("", "..") or any(letter in name for letter in "\0/\\"):
        raise ValueError("must be a file's name without its folder")
    return name


AnyPath = Annotated[Path, AfterValidator(_plain_path)]
NameOrPath = Annotated[str, AfterValidator(_plain_name)]
Matte = Annotated[str, AfterValidator(_plain_matte)]
FileName = Annotated[str, AfterValidator(_file_name)]
Head = Annotated[str, AfterValidator(_plain_head)]
Device = Annotated[
    str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto, cpu, cuda or cuda:0, cuda:1, ...")
]
Size = Annotated[int, Field(ge=16, le=8192)]
View = Literal["full", "base", "residual", "sliders"]
VIEWS = "full; of a personal avatar also base, residual (its wrinkles, about grey) or sliders (as Blender plays it)"
HoldBack = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
HELD = "how firmly what the clip never showed is held back: 0 not, 1 firmly; what it did show stays as it is"
LensShift = Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)]


class Options(BaseModel):
    """Base of all parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class ImportOptions(Options):
    """Decode, crop and matte a video into a clip folder."""

    video: AnyPath = Field(description="the video, or a folder of images")
    directory: AnyPath = Field(description="the clip folder to write")
    start: float = Field(0.0, ge=0, allow_inf_nan=False, description="first second to import")
    end: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="second to stop before; none: the video's end"
    )
    crop: tuple[int, int, int] | None = Field(
        None, description="x, y and size of a square in pixels; none: found around the head"
    )
    size: int = Field(512, ge=64, le=4096, description="pixels of the clip's square images")
    matte: Matte = Field("auto", description="auto, alpha, none, or a folder of masks, one per frame")
    fps: float | None = Field(None, gt=0, le=1000, description="frames per second of an image folder")
    landmarker: AnyPath | None = Field(
        None, description="a FaceLandmarker bundle (.task); none: the models inside mediapipe"
    )
    overwrite: bool = Field(False, description="replace a clip that is already in the folder")


class TrackOptions(Options):
    """Fit a parametric head to every frame of a clip folder."""

    directory: AnyPath = Field(description="the clip folder")
    head: Head = Field("human", min_length=1, description="human, a FLAME .pkl, an ICT-FaceKit folder or packed .npz")
    init: Literal["landmarks", "kaolrm"] = Field(
        "landmarks",
        description="what the fit starts from: landmarks, or kaolrm: a network reads the face in the frames",
    )
    refine: Literal["dense", "none"] = Field(
        "dense", description="dense: the fit is then moved until the pictures confirm it; none: landmarks only, quicker"
    )
    focal: float | None = Field(
        None, ge=1, le=10_000, allow_inf_nan=False,
        description="focal length in mm as in Blender, for a sensor 36 mm along the video's longer side; none: found",
    )  # fmt: skip
    lens_shift: tuple[LensShift, LensShift] = Field(
        (0.0, 0.0), description="Blender's camera shift x and y of the video's camera, in lengths of its longer side"
    )
    zooms: bool = Field(
        False, description="the lens zooms during the take: a focal length per frame; the head stays about as far away"
    )
    weights: NameOrPath = Field(
        "auto", min_length=1, description="KaoLRM's weights, with init kaolrm: auto (shipped), a folder or a known name"
    )
    device: Device = "auto"
    landmarker: AnyPath | None = Field(
        None, description="a FaceLandmarker bundle (.task); none: the models inside mediapipe"
    )


class CorrectOptions(Options):
    """Fit a tracked clip again around the frames that an artist corrected (corrections.npz in its folder)."""

    directory: AnyPath = Field(description="the tracked clip folder")
    corrections: AnyPath | None = Field(
        None, description="takes the place of the folder's corrections.npz when the fit has succeeded"
    )
    forget: int | None = Field(None, ge=0, description="take this frame's correction back first (rows count from 0)")
    overlay: bool = Field(True, description="also write overlay.mp4 anew")


class FitImageOptions(Options):
    """Fit a parametric head to photographs."""

    images: list[AnyPath] = Field(min_length=1, description="photographs, or folders of them")
    directory: AnyPath = Field(description="the folder to write")
    head: Head = Field("human", min_length=1, description="human, a FLAME .pkl, an ICT-FaceKit folder or packed .npz")
    weights: NameOrPath = Field(
        "auto", min_length=1, description="KaoLRM's weights: auto (the shipped ones), none, a folder or a known name"
    )
    same_person: bool = Field(False, description="all photographs show one person, who has one shape")
    pixels: bool = Field(False, description="refine on the photograph's shading and matte too (seconds more)")
    focal: float | None = Field(None, gt=0, allow_inf_nan=False, description="focal length in the photograph's pixels")
    field_of_view: float | None = Field(
        None, gt=1, lt=170, description="degrees across the longer side, where the camera recorded none"
    )
    landmarker: AnyPath | None = Field(
        None, description="a FaceLandmarker bundle (.task); none: the models inside mediapipe"
    )
    device: Device = "auto"


class ExportHeadOptions(Options):
    """Write a fitted head for other programs: GLB with texture, shape keys and skeleton, or a posed OBJ."""

    fit: AnyPath = Field(description="a folder that fit-image wrote, or a tracking.npz (its first frame)")
    output: AnyPath = Field(description="the .glb or .obj file to write")
    performance: AnyPath | None = Field(
        None, description="a tracking.npz whose first frame replaces the fit's numbers: sliders that an artist moved"
    )


class EvaluateFitOptions(Options):
    """Measure fitted heads against a scan and among each other, or the fit itself on a scan or on generated people."""

    fits: list[AnyPath] = Field(default_factory=list, description="folders that fit-image wrote, all of one person")
    scan: AnyPath | None = Field(None, description="a scan of the person: .obj, .ply or .glb")
    landmarks: AnyPath | None = Field(
        None, description="its seven landmarks, a line x y z each: eyes' corners, nose, mouth's corners"
    )
    unit: float | None = Field(
        None, ge=1e-9, allow_inf_nan=False, description="metres a unit of the scan; none: guessed"
    )
    render_scan: AnyPath | None = Field(
        None, description="photograph this scan from many sides and judge the fit itself on it"
    )
    texture: AnyPath | None = Field(None, description="its colour map, where the file has none")
    views: int = Field(32, ge=2, le=1000, description="how many photographs of it")
    pictures: AnyPath | None = Field(None, description="folder in which to keep them")
    head: Head = Field(
        "human", min_length=1, description="of render_scan and self_test: human, a FLAME .pkl, an ICT-FaceKit file"
    )
    same_person: bool = Field(False, description="of render_scan: also fit all photographs together, with one shape")
    self_test: bool = Field(False, description="judge the fit itself on generated people")
    people: int = Field(3, ge=1, le=1000, description="how many of them")
    seed: int | None = Field(None, ge=0, description="which ones")


class EvaluateHeadOptions(Options):
    """Measure how near a head model comes to real people: a scan, or random people of another head, against its mean
    face and against its best shape."""

    head: Head = Field("human", min_length=1, description="human, a FLAME .pkl, an ICT-FaceKit folder or packed .npz")
    scans: list[AnyPath] = Field(default_factory=list, description="scans of heads: .obj, .ply or .glb")
    landmarks: AnyPath | None = Field(None, description="the seven landmarks of a single scan; none: detected")
    unit: float | None = Field(
        None, ge=1e-9, allow_inf_nan=False, description="metres a unit of the scan; none: guessed"
    )
    people_of: Head | None = Field(
        None, min_length=1, description="also measure against random people of this head, as --head"
    )
    people: int = Field(10, ge=1, le=1000, description="how many of them")
    seed: int = Field(0, ge=0, description="which ones")
    coefficients: int = Field(80, ge=0, le=1000, description="of identity that are fitted; all where there are fewer")


class EvaluateCoverageOptions(Options):
    """Measure how much of a person's bare head (above the chin, hair excluded) the fitted mesh leaves uncovered."""

    folders: list[AnyPath] = Field(min_length=1, description="tracked clip folders, or folders that fit-image wrote")
    frames: int = Field(20, ge=1, le=100_000, description="how many frames of each clip, evenly spread")
    pictures: AnyPath | None = Field(
        None, description="folder for pictures: covered skin green, bare skin red, mesh beyond the matte blue"
    )


class EvaluateTrackingOptions(Options):
    """Measure how a tracking's overlay sticks to the skin and, where the truth is known, how far it is from that."""

    folders: list[AnyPath] = Field(min_length=1, description="tracked clip folders")
    tracking: FileName = Field("tracking.npz", min_length=1, description="name of the tracking's file in each folder")
    truth: AnyPath | None = Field(
        None, description="a tracking.npz that holds the truth; none: each folder's truth.npz, where there is one"
    )


class RecordingOptions(Options):
    """Take over what another tracker made: VHAP's export, or metrical-tracker's folder."""

    source: AnyPath = Field(description="VHAP's export (transforms.json) or metrical-tracker's folder (checkpoint/)")
    directory: AnyPath = Field(description="the clip folder to write")
    head: Head = Field(min_length=1, description="the FLAME .pkl that it was tracked with")
    fps: float | None = Field(
        None, gt=0, le=1000, description="frames per second; none: the recording's own, where it has none 25"
    )
    overwrite: bool = Field(False, description="replace a clip that is already in the folder")
    matte: Literal["auto", "none"] = Field(
        "auto", description="where the recording has no mattes: auto finds them in the pictures, none leaves them out"
    )
    all_cameras: bool = Field(
        False,
        description="take every camera's pictures, to train on (preset rgbavatar-multiview), not the first's alone",
    )


class VhapOptions(Options):
    """Write a clip tracked with FLAME the way VHAP exports it."""

    directory: AnyPath = Field(description="the tracked clip folder")
    output: AnyPath = Field(description="the folder to write")


class ConvertOptions(Options):
    """Carry a tracked clip or a fitted photograph over to another head."""

    tracked: AnyPath = Field(description="a tracked clip folder, its tracking.npz, or a folder that fit-image wrote")
    head: Head = Field(
        min_length=1, description="the other head: human, a FLAME .pkl, an ICT-FaceKit folder or packed .npz"
    )
    output: AnyPath = Field(
        description="the .npz to write, or a folder for tracking.npz; of a fit: the new fit's folder"
    )
    how: Literal["auto", "names", "vertices"] = Field(
        "auto",
        description="expressions by names, by the vertices' movements, or auto: by names where both heads have ARKit's",
    )
    tracked_head: Head | None = Field(
        None, min_length=1, description="where the head that was tracked lies now, if it was moved"
    )


class TrainOptions(Options):
    """Train an avatar from a tracked clip folder; continues from its checkpoint when there is one."""

    directory: AnyPath = Field(description="the tracked clip folder")
    output: AnyPath = Field(description="the avatar file to write, NAME.avatar.npz")
    preset: NameOrPath | None = Field(
        None, min_length=1,
        description="a preset's name, or a .toml file; none: rgbavatar on a graphics card, quality without one",
    )  # fmt: skip
    minutes: float | None = Field(
        None, gt=0, le=100_000, allow_inf_nan=False,
        description="end after about so many minutes, with as many images as this machine trains by then; none: the "
        "preset's images, however long they take",
    )  # fmt: skip
    overrides: dict[str, Any] = Field(default_factory=dict, description="single values of the preset")
    start: AnyPath | None = Field(
        None, description="a live session's avatar of the same head to go on from; none: from the beginning"
    )
    device: Device = "auto"


class LiveOptions(Options):
    """Learn an avatar from a camera, a stream or a playing video while it runs."""

    source: str = Field(min_length=1, description="a camera's number or name, a stream's address, or a video file")
    output: AnyPath = Field(description="the avatar file to write, NAME.avatar.npz")
    directory: AnyPath | None = Field(
        None, description="the clip folder for the take; none: NAME beside the avatar, or the next free name"
    )
    preset: NameOrPath = Field("live", min_length=1, description="a preset of RGBAvatar that streams, or a .toml file")
    overrides: dict[str, Any] = Field(default_factory=dict, description="single values of the preset")
    head: Head = Field("human", min_length=1, description="human, a FLAME .pkl, an ICT-FaceKit folder or packed .npz")
    preview: AnyPath | None = Field(None, description="an .mp4 of source, avatar and mesh; none: not kept")
    seconds: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="end by itself after so much of the source; none: when told, or "
        "at a file's end",
    )  # fmt: skip
    paced: bool = Field(True, description="a file plays at its own rate; otherwise every frame is taken")
    loop: bool = Field(False, description="a file begins again at its end")
    mirror: bool = Field(False, description="the source shows a mirror image: turn it round")
    learn: bool = Field(True, description="learn an avatar; else frames are tracked and the take is recorded alone")
    drive: bool = Field(False, description="tell the client what the head does in every tracked frame")
    landmarker: AnyPath | None = Field(
        None, description="a FaceLandmarker bundle (.task); none: the models inside mediapipe"
    )
    device: Device = "auto"


class RenderOptions(Options):
    """Render an avatar driven by a performance into an mp4 or a folder of PNG files with alpha."""

    avatar: AnyPath = Field(description="the avatar file")
    performance: AnyPath = Field(description="a tracked clip folder or its tracking.npz")
    output: AnyPath = Field(description="an .mp4 file, or a folder for PNG files with alpha")
    width: Size | None = Field(None, description="pixels; none: as the performance's camera")
    height: Size | None = Field(None, description="pixels; none: as the performance's camera")
    background: str | tuple[float, float, float] | None = Field(
        None,
        description="transparent, white, black, #rrggbb or r,g,b in 0..1; none: transparent for PNG, white for mp4",
    )
    show: View = Field("full", description=VIEWS)
    hold_back: HoldBack = Field(1.0, description=HELD)
    first: int = Field(0, ge=0, description="first frame of the performance")
    count: int | None = Field(None, ge=1, description="how many frames; none: all that follow")
    device: Device = "auto"


Gain = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]


class ReenactOptions(Options):
    """Drive an avatar with another person's performance, from neutral face to neutral face."""

    avatar: AnyPath = Field(description="the avatar file")
    performance: AnyPath = Field(
        description="the driver's: a tracked clip folder, its tracking.npz, a take of the phone app Live Link Face, "
        "ARKit's expressions as .csv or .json, or a folder of VHAP or metrical-tracker"
    )
    output: AnyPath = Field(
        description="an .mp4 file, a folder for PNG files with alpha, or an .npz: the performance, to load in Blender"
    )
    relative: bool = Field(True, description="count from each person's own neutral face; else play what was tracked")
    own: AnyPath | None = Field(
        None, description="the avatar's own tracked clip, to find its neutral face where its file does not hold it"
    )
    smooth: float = Field(
        0.0, ge=0, le=5, allow_inf_nan=False,
        description="seconds over which trembling is averaged while the face rests, 0.2 is usual; 0: not at all",
    )  # fmt: skip
    lively: float = Field(
        1.0, ge=0, le=20, allow_inf_nan=False,
        description="how soon fast movement escapes the smoothing; 0: never, so that blinks and words are lost",
    )  # fmt: skip
    mouth: Gain = Field(1.0, description="strength of mouth, jaw and cheeks: 0 none, 1 as the driver's, up to 2")
    eyes: Gain = Field(1.0, description="strength of lids and gaze")
    brows: Gain = Field(1.0, description="strength of the brows")
    head: Gain = Field(1.0, description="strength of the head's movement about where it is on average")
    hold_back: HoldBack = Field(1.0, description=HELD)
    fps: float | None = Field(
        None, gt=0, le=1000, description="frames per second of a performance that does not tell; none: 60 of ARKit's"
    )
    beside: bool = Field(False, description="put the driver's video to the left of the avatar")
    avatar_head: Head | None = Field(
        None, min_length=1, description="the avatar's head model, where the driver was tracked with another: as --head"
    )
    driver_head: Head | None = Field(
        None, min_length=1,
        description="the head that the driver was tracked with, where it was moved or the performance does not say",
    )  # fmt: skip
    width: Size | None = Field(None, description="pixels of the avatar; none: as the performance's camera")
    height: Size | None = Field(None, description="pixels of the avatar; none: as the performance's camera")
    background: str | tuple[float, float, float] | None = Field(
        None,
        description="transparent, white, black, #rrggbb or r,g,b in 0..1; none: transparent for PNG, white for mp4",
    )
    first: int = Field(0, ge=0, description="first frame of the performance")
    count: int | None = Field(None, ge=1, description="how many frames; none: all that follow")
    device: Device = "auto"


class EvaluateOptions(Options):
    """Score an avatar on the held-out frames of a clip: PSNR, SSIM and, with its weights, LPIPS."""

    avatar: AnyPath = Field(description="the avatar file")
    directory: AnyPath = Field(description="the tracked clip folder")
    lpips: AnyPath | None = Field(None, description="weights of LPIPS, .npz; SqueezeNet's or VGG16's, as its keys say")
    common: list[AnyPath] = Field(
        default_factory=list, description="the same clip tracked with other heads: score the pixels that count in all"
    )
    protocol: Literal["blendsplat", "rgbavatar", "dipguava"] = Field(
        "blendsplat",
        description="whose rules: blendsplat (the avatar's held-out frames, its head), rgbavatar (the last 350 frames, "
        "whole pictures) or dipguava (the last 30 %, whole pictures)",
    )
    pixels: Literal["auto", "clip", "own", "whole"] = Field(
        "auto",
        description="which are scored: clip (told by matte and landmarks), own (above this clip's own head's neck), "
        "whole, or auto, as the protocol says",
    )
    output: AnyPath | None = Field(
        None, description="folder for a table of all frames, a summary, and a sheet of the worst, median and best frame"
    )
    show: View = Field("full", description=VIEWS)
    hold_back: HoldBack = Field(0.0, description=HELD)
    device: Device = "auto"


class EvaluateReenactmentOptions(Options):
    """Drive an avatar by another person's clip, track the render again, and compare expression, pose and likeness."""

    avatar: AnyPath = Field(description="the avatar file")
    driver: AnyPath = Field(description="the tracked clip folder that drives it")
    own: AnyPath | None = Field(None, description="the avatar's own clip, which likeness is measured against")
    arcface: AnyPath | None = Field(None, description="a face recognition network, .onnx; needs onnxruntime")
    frames: int = Field(200, ge=1, le=100_000, description="how many frames, from the driving clip's first")
    device: Device = "auto"


class ExportOptions(Options):
    """Write one frame of a driven avatar as a world-space PLY that splat viewers open."""

    avatar: AnyPath = Field(description="the avatar file")
    performance: AnyPath = Field(description="a tracked clip folder or its tracking.npz")
    frame: int = Field(0, ge=0, description="frame of the performance")
    output: AnyPath = Field(description="the .ply file to write")
    y_down: bool = Field(False, description="turn the axes for viewers that expect y down")
    hold_back: HoldBack = Field(1.0, description=HELD)
    device: Device = "auto"


class BakeOptions(Options):
    """Make linear shapes of what an avatar's networks draw in given frames; the heads come as the job's frames."""

    avatar: AnyPath = Field(description="the avatar file")
    frames: int = Field(ge=1, le=100_000, description="how many frames come")
    most: int = Field(60, ge=1, le=1000, description="shapes at most")
    error: float = Field(
        0.05, ge=0, le=1, allow_inf_nan=False, description="the part of what moves that may be left out"
    )
    bounded: bool = Field(False, description="keep what drives it inside what training saw, as another clip's needs")
    hold_back: HoldBack = Field(0.0, description=HELD)
    device: Device = "auto"


class KeysOptions(Options):
    """Tell what an avatar's learned keys do: where, how much of all movement, how far; and draw each of them."""

    avatar: AnyPath = Field(description="the avatar file")
    output: AnyPath | None = Field(
        None, description="folder for a picture of every key and keys.json; none: no picture"
    )
    size: Size = Field(192, description="pixels of one view")
    device: Device = "auto"


class GenerateHeadsOptions(Options):
    """Render random people who do not exist, with known parameters, in the layouts that KaoLRM trains on."""

    directory: AnyPath = Field(description="folder for the data set; continued if it exists")
    people: int = Field(100, ge=1, description="how many people")
    views: int = Field(32, ge=1, description="views of each (the mono layout has one)")
    size: int = Field(512, ge=16, description="side of the images in pixels (the mono layout has 512)")
    head: Head = Field("human", min_length=1, description="human, a FLAME .pkl, an ICT-FaceKit folder or packed .npz")
    layout: Literal["multi-view", "mono"] = Field("multi-view", description="multi-view or mono")
    widest: float = Field(90.0, gt=0, le=90, description="how far to the side the cameras go, degrees")
    focal: float = Field(
        0.75, gt=0, allow_inf_nan=False, description="focal length over image size; above 1: portraits from afar"
    )
    seed: int = Field(0, ge=0, description="another seed, other people")


class TrainKaolrmOptions(Options):
    """Train a KaoLRM on pictures of heads; continues from the checkpoint in its folder when there is one."""

    data: AnyPath = Field(description="a data set in KaoLRM's multi-view or monocular layout")
    output: AnyPath = Field(description="folder for the weights; continued if it exists")
    preset: NameOrPath = Field(
        "small",
        min_length=1,
        description="small: from generate-heads' parameters; multi-view, mono: as published; or a .toml file",
    )
    start: NameOrPath | None = Field(
        None, min_length=1, description="weights to start from: a folder or a name of `blendsplat weights`"
    )
    stage: Literal[1, 2] | None = Field(None, description="only this stage of the published training")
    head: Head = Field("", description="human, or a FLAME or ICT file; left out: the preset's")
    overrides: dict[str, Any] = Field(default_factory=dict, description="single values of the preset")
    device: Device = "auto"


class SelftestOptions(Options):
    """A diagnostic job that only counts: does progress arrive, does cancel work, what happens when an engine dies."""

    seconds: float = Field(1.0, ge=0, le=3600, description="how long it lasts")
    steps: int = Field(20, ge=1, le=100_000, description="how many times it reports")
    preview: bool = Field(False, description="also send preview images")
    echo: bool = Field(False, description="also send back, at every step, the frames that came in")
    noise: str = Field(
        "", max_length=10_000, description="written to standard output at every step, as a careless library would"
    )
    fail: Literal["", "expected", "unexpected", "memory", "exit"] = Field("", description="end halfway in this way")


Model = TypeVar("Model", bound=BaseModel)


def validated(model: type[Model], values: dict[str, Any], what: str, context: dict[str, Any] | None = None) -> Model:
    """``values`` as a ``model``. Raises InputError, a sentence on the first fault; ``what`` owns the options."""
    for key in values:
        if key not in model.model_fields:
            close = difflib.get_close_matches(str(key), model.model_fields, 1, 0.5)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(model.model_fields)}."
            raise InputError(f"{what} has no option {key!r}; {hint}")
    try:
        return model.model_validate(values, context=context)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"][:1])
        reason = first["msg"].removeprefix("Value error, ")
        if first["type"] == "missing":
            raise InputError(f"{what} needs the option {where!r}.") from error
        given = f"{first['input']!r}"[:120]
        raise InputError(
            f"{what}: the option {where!r} cannot be {given}: {reason[:1].lower()}{reason[1:]}.", str(error)
        ) from error
