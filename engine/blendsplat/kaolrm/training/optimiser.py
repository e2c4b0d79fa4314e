# SPDX-License-Identifier: Apache-2.0
"""What both ways to train a KaoLRM share: AdamW and its groups, the rate's schedule, the data's order, checkpoints.

Everything random is a function of a seed and of how many images were seen, so that a resumed training is the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from blendsplat.errors import FormatError, InputError
from blendsplat.files import atomic_path
from blendsplat.tensor_files import write_tensors

CHECKPOINT = "checkpoint.safetensors"
BETAS = (0.9, 0.95)

Decays = Callable[[str, nn.Parameter], bool]


def adamw(model: nn.Module, rate: float, decay: float, decays: Decays) -> torch.optim.AdamW:
    """AdamW over the model's trainable parameters; weight decay on those for which ``decays(name, parameter)``."""
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups[decays(name, parameter)].append(parameter)
    return torch.optim.AdamW(
        [{"params": groups[True], "weight_decay": decay}, {"params": groups[False], "weight_decay": 0.0}],
        lr=rate,
        betas=BETAS,
    )


def matrices_only(name: str, parameter: nn.Parameter) -> bool:
    """No weight decay on norms, biases, tokens and embeddings."""
    return parameter.ndim >= 2 and "embed" not in name and "token" not in name


def all_but_norms_and_biases(model: nn.Module) -> Decays:
    """The published rule: weight decay on everything but LayerNorms and biases."""
    norms = {id(p) for module in model.modules() if isinstance(module, nn.LayerNorm) for p in module.parameters()}
    return lambda name, parameter: id(parameter) not in norms and not name.endswith("bias")


def learning_rate(rate: float, done: int, batch: int, warm_up: int, total: int) -> float:
    """The rate of the batch that follows ``done`` images: a linear warm-up, then a cosine to zero. All in images."""
    if done < warm_up:
        return rate * (done + batch) / (warm_up + batch)
    part = (done - warm_up) / max(total - warm_up, 1)
    return rate * 0.5 * (1 + math.cos(math.pi * min(part, 1.0)))


def shuffled(seed: int, items: int, first: int, count: int) -> list[int]:
    """Numbers ``first`` .. ``first + count - 1`` of an endless sequence that goes through all ``items`` in a new random
    order every epoch."""
    chosen: list[int] = []
    while len(chosen) < count:
        epoch, place = divmod(first + len(chosen), items)
        order = np.random.default_rng([seed, epoch]).permutation(items)
        chosen += order[place : place + count - len(chosen)].tolist()
    return chosen


def save_checkpoint(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, **numbers: float) -> None:
    """Model, optimiser and some numbers (images seen, ...) in one file, whole or not at all. Raises StorageError."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
    tensors |= {name: torch.tensor(value) for name, value in numbers.items()}
    with atomic_path(path) as temporary:
        write_tensors(temporary, tensors)


def load_checkpoint(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, float]:
    """Put model and optimiser where save_checkpoint was -> its numbers.

    Raises FormatError for a damaged file, InputError for another training's.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise FormatError(f"{path} is damaged; delete it to start again.", repr(error)) from error
    weights = {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
    state = optimiser.state_dict()
    state["state"] = {}
    for name, value in tensors.items():
        if name.startswith("optimiser."):
            _, index, field = name.split(".")
            state["state"].setdefault(int(index), {})[field] = value
    try:
        model.load_state_dict(weights)
        optimiser.load_state_dict(state)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{path} belongs to another preset; choose another folder.", str(error)) from error
    others = ("model.", "optimiser.")
    return {name: float(value) for name, value in tensors.items() if not name.startswith(others)}
