# SPDX-License-Identifier: Apache-2.0
"""People and clips that do not exist, with a known truth."""
