# SPDX-License-Identifier: Apache-2.0
"""What made files that the package ships; not part of it."""
