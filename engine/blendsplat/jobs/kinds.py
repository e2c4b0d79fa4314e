# SPDX-License-Identifier: Apache-2.0
"""Every kind of long work by name, with its options, its function and the lane that it runs in.

The server and the command line start the same kinds. The functions take validated options to a JSON result; heavy
modules are imported when a job needs them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from blendsplat.jobs import options as opt
from blendsplat.jobs.avatar_work import run_evaluate, run_evaluate_reenactment, run_train
from blendsplat.jobs.bake_work import run_bake
from blendsplat.jobs.clip_work import (
    run_correct,
    run_evaluate_tracking,
    run_import,
    run_recording,
    run_track,
    run_vhap,
)
from blendsplat.jobs.convert_work import run_convert
from blendsplat.jobs.kaolrm_work import run_generate_heads, run_train_kaolrm
from blendsplat.jobs.keys_work import run_keys
from blendsplat.jobs.live_work import run_live_session
from blendsplat.jobs.photograph_work import (
    run_evaluate_coverage,
    run_evaluate_fit,
    run_evaluate_head,
    run_export_head,
    run_fit_image,
)
from blendsplat.jobs.reenact_work import run_reenact
from blendsplat.jobs.render_work import run_export, run_render
from blendsplat.jobs.selftest import run_selftest
from blendsplat.progress import Progress

Lane = Literal["train", "work"]
LANES: tuple[Lane, ...] = ("train", "work")  # what takes hours, and what somebody may wait for


@dataclass(frozen=True)
class JobKind:
    """What a job is called, what it is doing (for "while training"), its options, its work, and its lane: the server
    runs one job of each lane at a time."""

    name: str
    doing: str
    options: type[opt.Options]
    run: Callable[[Any, Progress], dict[str, Any]]
    lane: Lane = "work"


KINDS = {
    kind.name: kind
    for kind in (
        JobKind("import", "importing the video", opt.ImportOptions, run_import),
        JobKind("track", "tracking", opt.TrackOptions, run_track),
        JobKind("correct", "correcting the tracking", opt.CorrectOptions, run_correct),
        JobKind("recording", "reading the recording", opt.RecordingOptions, run_recording),
        JobKind("vhap", "exporting", opt.VhapOptions, run_vhap),
        JobKind("convert", "converting", opt.ConvertOptions, run_convert),
        JobKind("fit_image", "fitting the head", opt.FitImageOptions, run_fit_image),
        JobKind("export_head", "exporting the head", opt.ExportHeadOptions, run_export_head),
        JobKind("evaluate_fit", "evaluating", opt.EvaluateFitOptions, run_evaluate_fit),
        JobKind("evaluate_head", "evaluating", opt.EvaluateHeadOptions, run_evaluate_head),
        JobKind("evaluate_tracking", "evaluating", opt.EvaluateTrackingOptions, run_evaluate_tracking),
        JobKind("evaluate_coverage", "evaluating", opt.EvaluateCoverageOptions, run_evaluate_coverage),
        JobKind("train", "training", opt.TrainOptions, run_train, lane="train"),
        JobKind("live", "learning from the camera", opt.LiveOptions, run_live_session, lane="train"),
        JobKind("evaluate", "evaluating", opt.EvaluateOptions, run_evaluate),
        JobKind("evaluate_reenactment", "evaluating", opt.EvaluateReenactmentOptions, run_evaluate_reenactment),
        JobKind("render", "rendering", opt.RenderOptions, run_render),
        JobKind("reenact", "reenacting", opt.ReenactOptions, run_reenact),
        JobKind("export", "exporting", opt.ExportOptions, run_export),
        JobKind("keys", "looking at the learned keys", opt.KeysOptions, run_keys),
        JobKind("bake", "baking the networks", opt.BakeOptions, run_bake),
        JobKind("generate_heads", "rendering", opt.GenerateHeadsOptions, run_generate_heads, lane="train"),
        JobKind("train_kaolrm", "training", opt.TrainKaolrmOptions, run_train_kaolrm, lane="train"),
        JobKind("selftest", "testing itself", opt.SelftestOptions, run_selftest),
        JobKind("selftest_train", "testing itself", opt.SelftestOptions, run_selftest, lane="train"),
    )
}


def lanes() -> dict[str, Lane]:
    """The lane of every kind by name."""
    return {kind.name: kind.lane for kind in KINDS.values()}
