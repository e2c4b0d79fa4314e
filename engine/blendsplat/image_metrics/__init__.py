# SPDX-License-Identifier: Apache-2.0
"""How alike two pictures are: PSNR, SSIM, LPIPS."""
