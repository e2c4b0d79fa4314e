# SPDX-License-Identifier: Apache-2.0
"""Names of files in messages where the system speaks no UTF-8, and gives Python bytes instead of letters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from blendsplat.errors import plain_sentence, readable

NAME = "Grüße 影片"


def loose(text: str) -> str:
    """``text`` as Python has it from a system without UTF-8."""
    return text.encode().decode("ascii", "surrogateescape")


def test_loose_bytes_are_letters_again() -> None:
    assert plain_sentence(f"No {loose(NAME)}/a.") == f"No {NAME}/a."
    assert readable(NAME) == NAME and readable("a\ud800") == "a\ud800"


def test_bytes_that_are_no_letters_stay() -> None:
    assert readable(f"{loose('ü')}\udcff") == "ü\udcff" and plain_sentence("\udcff") == "\\udcff"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has letters in file names")
@pytest.mark.parametrize("as_json", [True, False])
def test_a_sentence_names_a_folder_by_its_letters(tmp_path: Path, as_json: bool) -> None:
    folder = tmp_path / NAME
    folder.mkdir()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("LC_")}
    environment |= {
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    environment |= {"BLENDSPLAT_LOG_DIR": str(tmp_path / "logs")}
    words = [sys.executable, "-m", "blendsplat", "track", str(folder), *(["--json"] if as_json else [])]
    done = subprocess.run(words, env=environment, capture_output=True)
    said = done.stderr.decode()
    assert done.returncode == 2 and str(folder) in said and "\\udc" not in said
    if as_json:
        assert str(folder) in json.loads(done.stdout)["error"]["message"] and done.stdout.isascii()
