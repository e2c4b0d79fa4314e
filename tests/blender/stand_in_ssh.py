# SPDX-License-Identifier: Apache-2.0
"""A stand-in for ssh: runs the words as ssh does, joined by spaces, in a shell; or fails as ssh does, for some hosts.

    python stand_in_ssh.py [-o X] [-i FILE] HOST WORD ...

Hosts that fail: nowhere, stranger, changed, locked, closed, silent.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

_SAYS = {
    "nowhere": "ssh: Could not resolve hostname nowhere: Name or service not known",
    "stranger": "Host key verification failed.",
    "changed": "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\nHost key for changed has changed.\n"
    "Host key verification failed.",
    "locked": "** WARNING: connection is not using a post-quantum key exchange algorithm.\n"
    "ann@locked: Permission denied (publickey,password).",
    "closed": "ssh: connect to host closed port 22: Connection refused",
}


def main(words: list[str]) -> int:
    while words[0].startswith("-"):
        words = words[2 if words[0] in ("-o", "-i", "-p") else 1 :]
    host, *rest = words
    if host in _SAYS:
        print(_SAYS[host], file=sys.stderr)
        return 255
    if host == "silent":
        print("Enter passphrase for key '/home/ann/.ssh/id_ed25519': ", end="", file=sys.stderr, flush=True)
        time.sleep(600)
    print("Welcome to " + host, file=sys.stderr, flush=True)
    return subprocess.run(" ".join(rest), shell=True, executable="/bin/sh", env=os.environ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
