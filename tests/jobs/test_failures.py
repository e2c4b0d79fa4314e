# SPDX-License-Identifier: Apache-2.0
"""What a disk refuses is a matter of the disk, wherever it comes up."""

from __future__ import annotations

import errno
import os

import pytest

from blendsplat.jobs.failures import describe_failure


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_refusing_disk_is_one_sentence_and_its_exit_code(number: int) -> None:
    failure = describe_failure(OSError(number, os.strerror(number), "/films/clip/images"), "importing")
    assert failure.exit_code == 4 and failure.code == "storage" and failure.expected
    assert failure.sentence.startswith(f"Could not write /films/clip/images: {os.strerror(number)}. ")
    assert failure.sentence.count("\n") == 0 and "OSError" in failure.detail
    assert "importing" in describe_failure(OSError(number, "refused"), "importing").sentence


def test_a_file_that_is_not_there_is_still_a_fault_of_ours() -> None:
    assert describe_failure(FileNotFoundError(errno.ENOENT, "gone", "x"), "importing").exit_code == 70
