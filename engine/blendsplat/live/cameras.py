# SPDX-License-Identifier: Apache-2.0
"""Which cameras this machine has, and what a source's words mean: a camera, an address, a file."""

from __future__ import annotations

import sys
from pathlib import Path

from blendsplat.errors import InputError
from blendsplat.live.capture import Capture, DeviceCapture, FileCapture

_SYSTEM = Path("/sys/class/video4linux")
_GUESSED = 4  # cameras that are offered where the system has no list
_RATE = "30"


def list_cameras(system: Path = _SYSTEM) -> list[dict[str, str]]:
    """[{"source", "name"}]: what to give as a source, and what the system calls it. Where the system cannot be asked,
    the first few by number."""
    if sys.platform.startswith("linux"):
        return _listed(system)
    return _enumerated() or [{"source": str(number), "name": str(number)} for number in range(_GUESSED)]


def _enumerated() -> list[dict[str, str]]:
    """Windows and macOS: what FFmpeg finds; nothing where it cannot say."""
    import av

    try:
        devices = av.enumerate_input_devices("dshow" if sys.platform == "win32" else "avfoundation")
    except (av.FFmpegError, OSError, ValueError):
        return []
    cameras = [device for device in devices if not device.media_types or "video" in device.media_types]
    return [{"source": str(number), "name": device.description or device.name} for number, device in enumerate(cameras)]


def _listed(system: Path) -> list[dict[str, str]]:
    """Linux: every video device that gives pictures (a camera's further devices tell of them)."""
    found = []
    for folder in sorted(system.glob("video*"), key=lambda path: (len(path.name), path.name)):
        first = _line(folder / "index") in ("", "0")
        if first:
            found.append({"source": f"/dev/{folder.name}", "name": _line(folder / "name") or folder.name})
    return found


def _line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def open_source(source: str, paced: bool = True, loop: bool = False) -> Capture:
    """A camera's number or name, a stream's address (with ://), or a video file. paced, loop: of files.

    Raises VideoError or InputError that names the source and the way out.
    """
    source = source.strip()
    if "://" in source:
        options = {"rtsp_transport": "tcp"} if source.startswith("rtsp") else {}
        return DeviceCapture(source, source, None, options)
    path = Path(source).expanduser()
    if path.is_file():
        return FileCapture(path, paced, loop)
    if len(path.suffix) > 1 and not source.startswith("/dev/"):
        raise InputError(f"{source} does not exist; name a video file, a camera's number or name, or an address.")
    return _open_camera(source)


def _open_camera(source: str) -> Capture:
    if sys.platform == "darwin":
        return DeviceCapture(f"The camera {source}", f"{source}:none", "avfoundation", {"framerate": _RATE})
    if sys.platform == "win32":
        return DeviceCapture(f"The camera {source}", f"video={_windows_name(source)}", "dshow", {"framerate": _RATE})
    device = linux_device(source, list_cameras())
    return DeviceCapture(f"The camera {source}", device, "v4l2", {"framerate": _RATE})


def linux_device(source: str, cameras: list[dict[str, str]]) -> str:
    """A number, a device's path or a name (its beginning is enough) -> the device. Raises InputError for no camera."""
    if source.startswith("/dev/"):
        return source
    if source.isdigit():
        return f"/dev/video{source}"
    for camera in cameras:
        if source and camera["name"].lower().startswith(source.lower()):
            return camera["source"]
    known = ", ".join(f"{camera['name']} ({camera['source']})" for camera in cameras) or "none"
    raise InputError(f"There is no camera or file {source!r}; cameras here: {known}.")


def _windows_name(source: str) -> str:
    """DirectShow opens cameras by name only; a number counts those that PyAV finds."""
    if not source.isdigit():
        return source
    cameras = list_cameras()
    if int(source) >= len(cameras):
        known = ", ".join(camera["name"] for camera in cameras) or "none"
        raise InputError(f"There is no camera number {source}; cameras here: {known}.")
    return cameras[int(source)]["name"]
