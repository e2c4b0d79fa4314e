# SPDX-License-Identifier: Apache-2.0
"""The command line: ``blendsplat COMMAND``."""

import sys

from blendsplat.serving import serve


def main() -> None:
    if sys.argv[1:] == ["serve"]:
        serve()
