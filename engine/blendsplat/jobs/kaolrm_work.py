# SPDX-License-Identifier: Apache-2.0
"""The work around KaoLRM: generated heads to train on, and training."""

from __future__ import annotations

from typing import Any

from blendsplat.errors import InputError
from blendsplat.jobs import options as opt
from blendsplat.jobs.devices import resolve_device
from blendsplat.jobs.json_values import plain
from blendsplat.progress import Progress


def run_generate_heads(options: opt.GenerateHeadsOptions, progress: Progress) -> dict[str, Any]:
    """-> {rendered (people of this run), output}."""
    from blendsplat.heads import load_head
    from blendsplat.kaolrm.training.generate import Generation, generate

    job = Generation(
        options.people, options.views, options.size, options.seed, options.layout, options.widest, options.focal
    )
    rendered = generate(load_head(options.head, progress=progress), options.directory, job, progress)
    return {"rendered": rendered, "output": str(options.directory)}


def run_train_kaolrm(options: opt.TrainKaolrmOptions, progress: Progress) -> dict[str, Any]:
    """-> {output} and the held-out score: in pixels of train_published, of the two others in millimetres.

    Raises InputError for what the preset's method does not know.
    """
    from blendsplat.kaolrm.training.fit_closed_form import fit_closed_form
    from blendsplat.kaolrm.training.presets import ClosedFormPreset, PublishedPreset, load_preset
    from blendsplat.kaolrm.training.train_published import train_published
    from blendsplat.kaolrm.training.train_supervised import train_supervised

    data, output = options.data, options.output
    preset, device = load_preset(options.preset, options.overrides), resolve_device(options.device)
    score: Any
    if isinstance(preset, PublishedPreset):
        score = train_published(data, preset, output, progress, device, options.head, options.start, options.stage)
    elif options.start or options.stage or options.head:
        raise InputError(f"The preset {options.preset} knows no --from, --stage and --head; choose multi-view or mono.")
    elif isinstance(preset, ClosedFormPreset):
        score = fit_closed_form(data, preset, output, progress)
    else:
        score = train_supervised(data, preset, output, progress, device)
    return {"output": str(output), **plain(score)}
