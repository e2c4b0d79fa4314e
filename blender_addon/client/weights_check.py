# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine says of the chosen network weights: asked for by a button, kept, and shown without waiting."""

from __future__ import annotations

from typing import Any

from . import pump, session

_asked: str | None = None  # the weights that the question, and then the answer, is about
_question: session.Question | None = None
_answer: dict[str, Any] | None = None


def check(weights: str) -> session.Question:
    """Ask the engine about "auto", "none" or a folder; starts it when needed."""
    global _asked, _question, _answer
    _asked, _answer = weights, None

    def answered(result: Any, _arrays: object) -> None:
        global _answer
        if _asked == weights:
            _answer = result if isinstance(result, dict) else {}

    _question = session.ask("weights.describe", {"weights": weights}, then=answered)
    return _question


def waiting() -> bool:
    """The answer is on its way."""
    return _question is not None and _question.waiting


def answer(weights: str) -> dict[str, Any] | None:
    """What the engine said of these weights; None when it was not asked, or about others."""
    return _answer if _asked == weights else None


def lines(weights: str) -> list[tuple[str, str]]:
    """(sentence, icon) to show for these weights."""
    if _asked != weights or _question is None:
        return [("Not checked yet.", "QUESTION")]
    if _question.waiting:
        return [("Checking...", "TIME")]
    if _answer is None:
        return [(_question.error, "ERROR")]
    shown = [(str(_answer.get("sentence", "")), "CHECKMARK" if _answer.get("usable") else "ERROR")]
    if _answer.get("licence"):
        shown.append((f"Licence: {_answer['licence']}", "INFO"))
    return shown


def unregister() -> None:
    global _asked, _question, _answer
    _asked = _question = _answer = None


pump.shows(lambda: (_asked, waiting()))
