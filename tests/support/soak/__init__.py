# SPDX-License-Identifier: Apache-2.0
"""The campaign that tries to break Blendsplat (`make soak`): one file per part, all rows into one table.

    PYTHONPATH=tests/support python -m soak --minutes 60 --report docs/reliability.md

A part is a function ``run(share) -> Iterator[Row]``. It works in ``share.folder``, draws from ``share.random`` only,
and stops soon after ``share.left()`` reaches zero. tests/soak runs a slice of each part with every ``make test``.
"""
