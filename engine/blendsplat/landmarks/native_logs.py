# SPDX-License-Identifier: Apache-2.0
"""mediapipe's C++ side writes notices to standard error at every start; here they are kept out, all else passes."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator

_NOTICE = re.compile(
    rb"^(?:[IW]\d{4} |WARNING: All log messages before absl|INFO: (?:Created TensorFlow|Initialized)|"
    rb"INFO: .*(?:XNNPACK|GL version)|WARNING: .*Feedback manager)"
)
_lock = threading.RLock()


@contextlib.contextmanager
def quiet_native_logs() -> Iterator[None]:
    """Within the block, lines of level INFO and WARNING from native code do not reach standard error.

    Whatever else was written meanwhile, by anyone, is passed on when the block ends. Does nothing where standard error
    has no file descriptor.
    """
    os.environ.setdefault("GLOG_minloglevel", "2")
    with _lock:
        try:
            sys.stderr.flush()
            saved = os.dup(2)
        except (AttributeError, OSError, ValueError):
            yield
            return
        with tempfile.TemporaryFile() as caught:
            os.dup2(caught.fileno(), 2)
            try:
                yield
            finally:
                with contextlib.suppress(OSError, ValueError):
                    sys.stderr.flush()
                os.dup2(saved, 2)
                os.close(saved)
                caught.seek(0)
                kept = [line for line in caught if not _NOTICE.match(line)]
                if kept:
                    os.write(2, b"".join(kept))
