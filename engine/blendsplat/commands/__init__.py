# SPDX-License-Identifier: Apache-2.0
"""The commands of the command line, a file per group; ``blendsplat.cli`` puts them together."""
