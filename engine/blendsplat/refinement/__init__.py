# SPDX-License-Identifier: Apache-2.0
"""Dense refinement: the fit of a clip is moved until the clip's pictures, not only its landmarks, confirm it."""
