# SPDX-License-Identifier: Apache-2.0
"""Training DipGuava: two stages, densification, and the distillation into blendshapes."""
