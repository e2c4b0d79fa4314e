# SPDX-License-Identifier: Apache-2.0
"""DipGuava (Lee et al. 2025): a base and a personal residual, both as UV maps that networks draw for every frame."""
