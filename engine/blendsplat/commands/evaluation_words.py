# SPDX-License-Identifier: Apache-2.0
"""What ``evaluate`` prints: a line for each thing that is looked at, for people; programs take --json."""

from __future__ import annotations

from typing import Any

_WHERE = {
    "clip": "the pixels that the clip's matte and landmarks tell, whatever its head",
    "common": "the pixels that count in all the clips named",
    "own": "the pixels above the tracked head's own neck: compare no other head with this",
    "whole": "whole pictures, what the avatar never learned included",
}


def lines_of(result: dict[str, Any]) -> list[str]:
    """The lines for a result of evaluate_avatar; what it lacks is left out."""
    over = f"{_scores(result)} over {result.get('frames', 0)} held-out frames"
    where = _WHERE.get(result.get("pixels", ""), "")
    lines = [f"{over}; scored: {where} ({100 * result['share']:.0f} %)." if where else f"{over}."]
    for part in ("mouth", "eyes"):
        if scores := _scores(result, part + "_"):
            lines.append(f"  {part}: {scores}")
    lines += [line for line in (_steadiness(result), _geometry(result.get("geometry")), *_sides(result)) if line]
    if sheet := result.get("sheet"):
        lines.append(f"  Look at {sheet}")
    return lines


def coverage_lines(figures: dict[str, Any]) -> list[str]:
    """How much of the bare head a tracked or fitted mesh leaves uncovered; nothing where nobody could tell."""
    if figures.get("uncovered") is None or figures.get("beyond") is None:
        return []
    return [f"Bare head: {figures['uncovered']:.1%} uncovered, {figures['beyond']:.1%} of mesh beyond it."]


def reenactment_lines(result: dict[str, Any]) -> list[str]:
    """The lines for a result of evaluate_reenactment."""
    lines = [
        f"Expression: AED {result['aed']:.4f} ({result['aed_relative']:.4f} about each person's mean), "
        f"{result['aed_mm']:.2f} mm on the face. Pose: APD {result['apd_deg']:.2f} degrees. Over {result['frames']} "
        f"frames; in {result['lost']} more the render's face was not found."
    ]
    if result.get("csim") is not None:
        lines.append(
            f"Likeness to the avatar's own clip: CSIM {result['csim']:.3f}; to the driving person "
            f"{result['csim_driver']:.3f}."
        )
    return lines


def _scores(result: dict[str, Any], prefix: str = "") -> str:
    kinds = (
        ("psnr", "PSNR", 2, " dB"), ("ssim", "SSIM", 4, ""), ("l1", "L1", 4, ""),
        ("lpips", f"LPIPS ({result.get('lpips_network')})", 4, ""),
    )  # fmt: skip
    return ", ".join(
        f"{label} {result[prefix + key]:.{digits}f}{unit}"
        for key, label, digits, unit in kinds
        if result.get(prefix + key) is not None
    )


def _steadiness(result: dict[str, Any]) -> str:
    if result.get("change_error") is None:
        return ""
    tremble = (result.get("steadiness") or {}).get("tremble")
    still = "" if tremble is None else f"; in still moments {tremble:.2f} of the video's tremble"
    return (
        f"  from frame to frame: changes by {result['change']:.2f} steps of 255, the video by "
        f"{result['video_change']:.2f}, off by {result['change_error']:.2f}{still}"
    )


def _geometry(geometry: dict[str, Any] | None) -> str:
    if not geometry or geometry.get("needle") is None:
        return ""
    ratios, far = geometry["needle"], geometry["distance_mm"]
    return (
        f"  Gaussians: longest over median axis {_spread(ratios)}; from the surface {_spread(far)} mm "
        f"(50, 95, 99 %, most); needles {100 * geometry['needles']:.2f} %, faint {100 * geometry['faint']:.2f} %"
    )


def _spread(values: dict[str, float]) -> str:
    return ", ".join(f"{values[key]:.1f}" for key in ("50", "95", "99", "max"))


def _sides(result: dict[str, Any]) -> list[str]:
    sides = result.get("sides") or {}
    told = "; ".join(
        f"{name.replace('_', ' the ')} {100 * view['holes']:.1f} % holes, {100 * view['floaters']:.2f} % floaters"
        + ("" if view.get("fringe") is None else f", fringe {view['fringe']:.3f}")
        for name, view in sides.items()
    )
    return [f"  seen {told}"] if told else []
