# SPDX-License-Identifier: Apache-2.0
"""``python -m blendsplat``: the command line."""

from blendsplat.cli import main

if __name__ == "__main__":
    main()
