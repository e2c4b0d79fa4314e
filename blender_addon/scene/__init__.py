# SPDX-License-Identifier: GPL-3.0-or-later
"""What is built in a .blend and kept in step with the head: rigs, carriers, node groups, keyframes. Plain functions."""
