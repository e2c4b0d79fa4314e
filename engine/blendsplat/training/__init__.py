# SPDX-License-Identifier: Apache-2.0
"""Training avatars on tracked clips: frames, parameters, the loop; each system's own part in a room of its own."""
