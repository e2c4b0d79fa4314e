# SPDX-License-Identifier: Apache-2.0
"""Other ways to splat on the same scene, in the same run: small renderers of our own on other people's compilers.

Each is optional. Its picture and gradients are compared with the float64 oracle before it is timed.
"""

from blendsplat.bench.peers.table import peers

__all__ = ["peers"]
