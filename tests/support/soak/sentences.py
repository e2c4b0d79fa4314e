# SPDX-License-Identifier: Apache-2.0
"""What an error's words must be: one sentence, which anybody can be shown."""

from __future__ import annotations

_LONGEST = 1500  # letters


def fault_of(text: str) -> str:
    """What is wrong with an error's words; "" for nothing."""
    if not text.strip() or "\n" in text or "\0" in text or len(text) > _LONGEST:
        return f"not one sentence: {text[:120]!r} ({len(text)} letters)"
    if "Traceback" in text or text.strip()[-1] not in ".!)'?":
        return f"not a sentence: {text[-120:]!r}"
    try:
        text.encode()
    except UnicodeEncodeError:
        return f"a sentence that nobody can print: {text[:120]!r}"
    return ""
