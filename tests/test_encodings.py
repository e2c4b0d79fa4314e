# SPDX-License-Identifier: Apache-2.0
"""Whoever reads or writes text says in which encoding: the system's own differs from one machine to the next."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from rooms import ADDON, ENGINE, ROOT, files

TEXT_ARGUMENT = {"read_text": 0, "write_text": 1}  # which positional one is the encoding
STARTS = {"run", "Popen", "check_output", "check_call", "call"}


def silent(tree: ast.AST) -> Iterator[ast.Call]:
    """Calls that work on text in the system's encoding."""
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call):
            continue
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        named = {keyword.arg for keyword in call.keywords}
        if "encoding" in named:
            continue
        told = name in TEXT_ARGUMENT and len(call.args) <= TEXT_ARGUMENT[name]
        built_in = (isinstance(call.func, ast.Name) and name == "open") or name == "fdopen"
        if told or (built_in and not _is_binary(call)) or (name in STARTS and named & {"text", "universal_newlines"}):
            yield call


def _is_binary(call: ast.Call) -> bool:
    mode = [*call.args[1:2], *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
    return any(isinstance(given, ast.Constant) and "b" in str(given.value) for given in mode)


@pytest.mark.parametrize("folder", [ENGINE, ADDON], ids=["engine", "addon"])
def test_every_text_names_its_encoding(folder) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{call.lineno}: {ast.unparse(call)}"
        for path in files(folder)
        for call in silent(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not found, found


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ("open(p)", 1), ("open(p, 'rb')", 0), ("open(p, mode='wb')", 0), ("open(p, encoding='utf-8')", 0),
        ("p.read_text()", 1), ("p.read_text('utf-8')", 0), ("p.write_text(words)", 1), ("image.open(p)", 0),
        ("subprocess.run(words, text=True)", 1), ("subprocess.run(words)", 0),
    ],
)  # fmt: skip
def test_the_test_sees_them(code: str, count: int) -> None:
    assert len(list(silent(ast.parse(code)))) == count
