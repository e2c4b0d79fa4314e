# SPDX-License-Identifier: Apache-2.0
"""Any exception as what the user is told: a code, one sentence and a detail for the log.

Shared by the server and the command line.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import Any

from blendsplat.errors import BlendsplatError, StorageError
from blendsplat.files import of_disk, way_out

EXPECTED_ERROR, INTERNAL_ERROR = -32000, -32603  # JSON-RPC's codes: a failure of the world, a fault of ours


@dataclass
class Failure:
    """What a failure looks like from outside."""

    code: str
    sentence: str
    detail: str
    exit_code: int
    expected: bool  # False: a fault of ours, whose traceback belongs into the log

    def as_json(self) -> dict[str, Any]:
        """The error object of docs/formats.md, the same in answers and in ``job.finished``."""
        rpc = EXPECTED_ERROR if self.expected else INTERNAL_ERROR
        return {"code": rpc, "message": self.sentence, "data": {"code": self.code, "detail": self.detail}}


def describe_failure(error: BaseException, doing: str, log: str | None = None) -> Failure:
    """``doing`` names the work ("training"); ``log`` is the file that has more."""
    if isinstance(error, BlendsplatError):
        return Failure(error.code, error.sentence, error.detail, error.exit_code, True)
    if isinstance(error, OSError) and of_disk(error):
        error = _storage_error(error, doing)
        return Failure(error.code, error.sentence, error.detail, error.exit_code, True)
    detail = "".join(traceback.format_exception(error))
    if type(error).__name__ == "OutOfMemoryError":  # torch's, without importing torch
        sentence = f"The graphics card ran out of memory while {doing}. Choose a smaller size or the device 'cpu'."
        return Failure("memory", sentence, detail, 5, False)
    if isinstance(error, MemoryError):
        sentence = f"The memory ran out while {doing}. Close other programs or choose a smaller size."
        return Failure("memory", sentence, detail, 5, False)
    where = f" The log {log} has the details." if log else ""
    what = " ".join(str(error).split())
    short = f"{type(error).__name__}: {what}" if what else type(error).__name__
    sentence = f"An error in Blendsplat stopped it while {doing} ({short[:300]}).{where}"
    return Failure("internal", sentence, detail, 70, False)


def _storage_error(error: OSError, doing: str) -> StorageError:
    """Of a disk's refusal that came up where nobody waits for one: a folder that is made, a file that is renamed."""
    where = error.filename2 or error.filename
    what = f"Could not write {where}" if where else f"The disk refused something while {doing}"
    return StorageError(f"{what}: {error.strerror}. {way_out(error)}", "".join(traceback.format_exception(error)))
