# SPDX-License-Identifier: Apache-2.0
"""The house's rooms in their order, read by test_arrows.py and drawn by it into docs/design.md."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENGINE = ROOT / "engine" / "blendsplat"
ADDON = ROOT / "blender_addon"

# From the ground up. A room uses rooms of lower floors; rooms of one floor do not know each other.
ENGINE_FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors", "file_names", "__init__"),
    ("geometry", "folders", "files", "tensor_files", "memory", "progress", "_kernels_cpu", "_kernels_cuda"),
    ("splatting",),
    ("image_metrics", "landmarks"),
    ("heads", "video"),
    ("avatars", "fitting", "exchange", "synthetic"),
    ("avatars.rgbavatar", "training", "kaolrm", "refinement"),
    ("avatars.dipguava", "training.rgbavatar", "kaolrm.training"),
    ("training.dipguava",),
    ("systems",),
    ("tracking",),
    ("photographs", "live"),
    ("evaluation",),
    ("jobs", "demo"),
    ("serving", "bench"),
    ("batch",),
    ("commands",),
    ("cli",),
    ("__main__",),
)
ADDON_FLOORS: tuple[tuple[str, ...], ...] = (
    ("space", "paths", "file_names", "preferences"),
    ("formats",),
    ("client",),
    ("scene",),
    ("render",),
    ("exports",),
    ("ui",),
    ("__init__", "batch"),
)
BEGIN, END = "<!-- rooms: drawn by tests/test_arrows.py -->", "<!-- rooms end -->"


def imports(path: Path, package: tuple[str, ...]) -> Iterator[str]:
    """Absolute names of everything that a file imports, at the top or later; ``package`` is the file's own package."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module or "")))
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if function in ("import_module", "__import__", "find_spec") and isinstance(node.args[0].value, str):
                yield node.args[0].value


def files(folder: Path) -> list[Path]:
    found = sorted(folder.rglob("*.py"))
    assert found, folder
    return found


def package_of(path: Path, folder: Path) -> tuple[str, ...]:
    return (folder.name, *path.relative_to(folder).parent.parts)


def module_of(path: Path, folder: Path) -> str:
    """The module's name without the program's: "heads.model", "" for the program's own __init__."""
    return ".".join(path.relative_to(folder).with_suffix("").parts).removesuffix("__init__").removesuffix(".")


def module_graph(folder: Path) -> dict[str, set[str]]:
    """Every module of a program and the modules of it that it imports."""
    modules = {module_of(path, folder): path for path in files(folder)}
    graph: dict[str, set[str]] = {}
    for module, path in modules.items():
        graph[module] = set()
        for name in imports(path, package_of(path, folder)):
            if name.split(".")[0] != folder.name:
                continue
            inside = name.removeprefix(folder.name).removeprefix(".")
            while inside not in modules and "." in inside:  # a name in a module
                inside = inside.rpartition(".")[0]
            target = inside if inside in modules else ""  # a name of the program's own __init__
            if target != module:
                graph[module].add(target)
    return graph


def room_of(module: str, floors: tuple[tuple[str, ...], ...]) -> str | None:
    """The longest entry of the floors that ``module`` lies in; "" is the program's own __init__."""
    parts = module.split(".") if module else ["__init__"]
    rooms = {room for floor in floors for room in floor}
    return next((name for n in (2, 1) if (name := ".".join(parts[:n])) in rooms), None)


def room_graph(folder: Path, floors: tuple[tuple[str, ...], ...]) -> dict[str, set[str]]:
    """Every room and the rooms that it uses."""
    graph: dict[str, set[str]] = {}
    for module, targets in module_graph(folder).items():
        room = room_of(module, floors)
        assert room is not None, f"{folder.name}/{module} lies in no room of tests/support/rooms.py"
        graph.setdefault(room, set()).update(
            other for target in targets if (other := room_of(target, floors)) not in (room, None)
        )
    return graph


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Sets of nodes that reach each other."""
    reached: dict[str, set[str]] = {}
    for start in graph:
        seen, waiting = set[str](), [start]
        while waiting:
            for after in graph.get(waiting.pop(), ()):
                if after not in seen:
                    seen.add(after)
                    waiting.append(after)
        reached[start] = seen
    found = {frozenset({b for b in reached[a] if a in reached.get(b, ())} | {a}) for a in graph if a in reached[a]}
    return sorted(map(sorted, found))


def drawing() -> str:
    """The rooms as the picture in docs/design.md, the ground at the bottom."""
    lines = ["```mermaid", "flowchart BT"]
    for title, folder, floors in (("engine", ENGINE, ENGINE_FLOORS), ("addon", ADDON, ADDON_FLOORS)):
        graph = room_graph(folder, floors)
        lines.append(f'    subgraph {title}["{"engine/blendsplat" if folder == ENGINE else "blender_addon"}"]')
        lines.append("        direction BT")
        shown = [[room for room in floor if room in graph and room not in _UNDRAWN[folder]] for floor in floors]
        lines += [f'        {title}_{_id(room)}["{room}"]' for floor in shown for room in floor]
        for room in sorted(set().union(*shown)):
            for other in sorted(_direct(room, graph) - _UNDRAWN[folder]):
                lines.append(f"        {title}_{_id(other)} --> {title}_{_id(room)}")
        lines.append("    end")
    return "\n".join([*lines, "```"])


# What nearly everything stands on, and the entry points: drawn, their arrows would hide the others.
_UNDRAWN = {
    ENGINE: {
        "errors",
        "file_names",
        "geometry",
        "folders",
        "files",
        "tensor_files",
        "memory",
        "progress",
        "__main__",
        "__init__",
    },
    ADDON: {"__init__", "space", "paths", "file_names", "batch"},
}


def _direct(room: str, graph: dict[str, set[str]]) -> set[str]:
    """The rooms that ``room`` uses and does not also reach through another: fewer arrows say the same order."""
    mine = graph[room]
    return {other for other in mine if not any(other in _below(step, graph) for step in mine - {other})}


def _below(room: str, graph: dict[str, set[str]]) -> set[str]:
    found, waiting = set[str](), [room]
    while waiting:
        for other in graph.get(waiting.pop(), ()):
            if other not in found:
                found.add(other)
                waiting.append(other)
    return found


def _id(room: str) -> str:
    return room.replace(".", "_")
