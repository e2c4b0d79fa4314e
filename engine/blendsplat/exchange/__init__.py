# SPDX-License-Identifier: Apache-2.0
"""Foreign recordings in and out, one file a format behind one registry."""
