# SPDX-License-Identifier: Apache-2.0
"""Commands whose modules are imported when they are called: the help of all of them needs their first words only.

A command's name and words are read from its function's source, so they stand in one place.
"""

from __future__ import annotations

import ast
import importlib
from functools import cache
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand
from typer.main import get_command

_PACKAGE = __name__.rpartition(".")[0]


def add(app: typer.Typer, place: str) -> None:
    """Add the function ``place`` ("avatar.track") of this package to ``app``. A Typer of that name ("bench.app") is a
    group of commands, which has its module's name and its callback's words."""
    module, _, name = place.partition(".")
    group = name == "app"
    words = _docstrings(module)[module if group else name]

    class Later(TyperCommand):
        """Only what the list of commands shows."""

        def make_context(self, *args: Any, **more: Any) -> Any:
            """The context of the command itself, which is what runs or tells its help."""
            return _loaded(module, name).make_context(*args, **more)

    def stand_in() -> None:
        pass

    app.command(module if group else name.replace("_", "-"), cls=Later, help=words)(stand_in)


def _loaded(module: str, name: str) -> Any:
    found = getattr(importlib.import_module(f"{_PACKAGE}.{module}"), name)
    if isinstance(found, typer.Typer):
        return get_command(found)
    alone = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
    alone.command()(found)
    return get_command(alone)


@cache
def _docstrings(module: str) -> dict[str, str]:
    """Of every function of a module of this package, without running it."""
    source = Path(__file__).with_name(f"{module}.py").read_text(encoding="utf-8")
    functions = (node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef))
    return {node.name: ast.get_docstring(node) or "" for node in functions}
