# SPDX-License-Identifier: Apache-2.0
"""The engine process: the protocol of docs/formats.md over standard input and output, and the jobs it runs."""

from blendsplat.serving.server import serve

__all__ = ["serve"]
