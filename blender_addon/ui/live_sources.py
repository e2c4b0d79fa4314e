# SPDX-License-Identifier: GPL-3.0-or-later
"""The cameras of the engine's machine, and the presets that learn from one, as choices of the panel."""

from __future__ import annotations

from typing import Any

import bpy

from ..client import session

TOPIC = "cameras"
DEFAULT_PRESET = "live"
_FIRST = ("0", "First Camera", "The first camera that the system finds")
_cameras: list[tuple[str, str]] | None = None  # (what the engine takes, what the system calls it); None: not asked yet
_kept: dict[str, list[tuple[str, str, str]]] = {}  # Blender needs an enum's texts to be kept alive


def look_for_cameras(*, wait: bool | None = None) -> session.Question:
    """Ask the engine which cameras there are."""
    return session.ask("camera.list", {}, then=_told, topic=TOPIC, wait=wait)


def known() -> list[tuple[str, str]] | None:
    """The cameras that were found; None before anybody looked."""
    return _cameras


def _told(result: Any, _arrays: dict[str, Any]) -> None:
    global _cameras
    told = result.get("cameras") if isinstance(result, dict) else None
    _cameras = [(str(one["source"]), str(one["name"])) for one in told or () if "source" in one and "name" in one]


def camera_items(settings: Any, _context: bpy.types.Context | None) -> list[tuple[str, str, str]]:
    """The cameras that were found, and the file's own choice where it is not among them."""
    items = [(source, name, f"The system calls it {name} ({source})") for source, name in _cameras or ()] or [_FIRST]
    chosen = chosen_camera(settings)
    if chosen not in (item[0] for item in items):
        items.append((chosen, chosen, "This camera is not among those that were found"))
    return _alive("camera", items)


def chosen_camera(settings: Any) -> str:
    """The camera as the engine takes it."""
    return settings.camera_source.strip() or (_cameras[0][0] if _cameras else _FIRST[0])


def camera_number(settings: Any) -> int:
    return [item[0] for item in camera_items(settings, None)].index(chosen_camera(settings))


def choose_camera(settings: Any, number: int) -> None:
    settings.camera_source = camera_items(settings, None)[number][0]


def preset_items(settings: Any, _context: bpy.types.Context | None) -> list[tuple[str, str, str]]:
    """Presets that the engine says can learn live, and the file's own choice."""
    told = session.link.hello.get("presets") or []
    live = [one for one in told if one.get("live") or one.get("name") == DEFAULT_PRESET]
    items = [
        (str(one["name"]), str(one.get("title") or one["name"]), str(one.get("description") or "")) for one in live
    ]
    chosen = chosen_preset(settings)
    if chosen not in (item[0] for item in items):
        items.append((chosen, chosen.capitalize(), "A first face after some seconds, better the longer it runs"))
    return _alive("preset", items)


def chosen_preset(settings: Any) -> str:
    return settings.preset_name.strip() or DEFAULT_PRESET


def preset_number(settings: Any) -> int:
    return [item[0] for item in preset_items(settings, None)].index(chosen_preset(settings))


def choose_preset(settings: Any, number: int) -> None:
    settings.preset_name = preset_items(settings, None)[number][0]


def _alive(name: str, items: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    if _kept.get(name) != items:
        _kept[name] = items
    return _kept[name]


def forget() -> None:
    """Nobody has looked for cameras."""
    global _cameras
    _cameras = None
