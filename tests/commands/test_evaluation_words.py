# SPDX-License-Identifier: Apache-2.0
"""What the evaluating commands print: everything that was measured, and nothing that was not."""

from __future__ import annotations

from typing import Any

from blendsplat.commands.evaluation_words import lines_of, reenactment_lines

SPREAD = {"50": 1.46, "95": 3.2, "99": 5.1, "max": 72.6}
WHOLE: dict[str, Any] = {
    "psnr": 30.834, "ssim": 0.93214, "l1": 0.01155, "lpips": 0.0427, "lpips_network": "squeeze", "frames": 176,
    "pixels": "clip", "share": 0.828, "mouth_psnr": 33.04, "mouth_lpips": 0.0763, "change": 2.42, "video_change": 2.92,
    "change_error": 2.54, "steadiness": {"tremble": 0.514, "still_moments": 79.0},
    "geometry": {"needle": SPREAD, "distance_mm": SPREAD, "needles": 0.0102, "faint": 0.0213},
    "sides": {"from_left": {"holes": 0.102, "floaters": 0.00001}, "from_front": {"holes": 0.035, "floaters": 0.0014}},
    "sheet": "out/sheet.png",
}  # fmt: skip


def test_every_figure_has_its_words() -> None:
    said = "\n".join(lines_of(WHOLE))
    for words in (
        "PSNR 30.83 dB, SSIM 0.9321, L1 0.0115, LPIPS (squeeze) 0.0427 over 176 held-out frames",
        "whatever its head (83 %)",
        "mouth: PSNR 33.04 dB, LPIPS (squeeze) 0.0763",
        "changes by 2.42 steps of 255, the video by 2.92, off by 2.54; in still moments 0.51 of the video's tremble",
        "axis 1.5, 3.2, 5.1, 72.6",
        "needles 1.02 %, faint 2.13 %",
        "seen from the left 10.2 % holes, 0.00 % floaters; from the front 3.5 % holes, 0.14 % floaters",
        "Look at out/sheet.png",
    ):
        assert words in said, words
    assert "eyes" not in said


def test_what_was_not_measured_is_not_mentioned() -> None:
    assert lines_of({"psnr": 30.0, "ssim": 0.9, "frames": 3}) == ["PSNR 30.00 dB, SSIM 0.9000 over 3 held-out frames."]
    bare = WHOLE | {"steadiness": {"tremble": None}, "geometry": {"needle": None, "distance_mm": None}, "sides": {}}
    said = "\n".join(lines_of(bare))
    assert "still moments" not in said and "Gaussians" not in said and "seen from" not in said


def test_likeness_is_told_where_it_was_measured() -> None:
    found = {"aed": 0.0376, "aed_relative": 0.0349, "aed_mm": 0.818, "apd_deg": 2.1, "frames": 100, "lost": 3}
    (line,) = reenactment_lines(found)
    assert (
        "AED 0.0376 (0.0349 about" in line and "0.82 mm" in line and "APD 2.10 degrees" in line and "in 3 more" in line
    )
    assert "CSIM 0.700; to the driving person 0.100" in reenactment_lines(found | {"csim": 0.7, "csim_driver": 0.1})[1]
