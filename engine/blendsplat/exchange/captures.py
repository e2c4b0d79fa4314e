# SPDX-License-Identifier: Apache-2.0
"""Every format that face captures without pictures come in: one file each, one line here."""

from __future__ import annotations

from pathlib import Path

from blendsplat.errors import FormatError
from blendsplat.exchange import arkit_csv, arkit_json, live_link
from blendsplat.exchange.capture import Capture, CaptureFormat

CAPTURES: dict[str, CaptureFormat] = {
    one.name: one for one in (live_link.FORMAT, arkit_csv.FORMAT, arkit_json.FORMAT)
}  # the first that takes a file reads it


def is_capture(path: Path) -> bool:
    """Whether the file would be read as one."""
    return any(one.detect(path) for one in CAPTURES.values())


def read_capture(path: Path, fps: float | None = None) -> Capture:
    """A capture of any format. fps: for files that say nothing of time. Raises FormatError."""
    if not path.exists():
        raise FormatError(f"There is no file {path}.")
    found = next((one for one in CAPTURES.values() if one.detect(path)), None)
    if found is None:
        known = ", nor ".join(one.marked_by for one in CAPTURES.values())
        raise FormatError(f"{path} is neither {known}.")
    return found.read(path, fps)
