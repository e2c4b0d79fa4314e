# SPDX-License-Identifier: Apache-2.0
"""A package index on loopback with tiny wheels: says no in every way, trickles, remembers what was asked."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import ssl
import threading
import time
import urllib.parse
import zipfile
from pathlib import Path

HELLO = """
import json, struct, sys
size, rest = struct.unpack("<IQ", sys.stdin.buffer.read(12))
identity = json.loads(sys.stdin.buffer.read(size))["id"]
result = {"protocol": 1, "version": "VERSION", "python": "3", "torch": "none"}
text = json.dumps({"jsonrpc": "2.0", "id": identity, "result": result})
sys.stdout.buffer.write(struct.pack("<IQ", len(text), 0) + text.encode())
sys.stdout.buffer.flush()
sys.stdin.buffer.read()
"""


def tiny_wheel(
    folder: Path, name: str, body: str = "", version: str = "0.1.0", needs: str = "", tag: str = "py3-none-any"
) -> Path:
    """A pure wheel with one module, which needs another package unless ``needs`` is empty."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-{tag}.whl"
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}/__init__.py", "")
        archive.writestr(f"{name}/__main__.py", body)
        archive.writestr(f"{info}/METADATA", metadata + (f"Requires-Dist: {needs}\n" if needs else ""))
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: {tag}\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def engine_wheel(folder: Path, version: str = "0.1.0") -> Path:
    """An engine that says hello and nothing else."""
    return tiny_wheel(folder, "blendsplat", HELLO.replace("VERSION", version), version)


class Index:
    """Serves ``folder/PATH/*.whl`` as the page /PATH/, ``refused[PATH prefix] = status`` and files, which trickle while
    ``slow`` is set."""

    def __init__(self, folder: Path, certificate: tuple[Path, Path] | None = None) -> None:
        self.folder, self.asked = folder, []
        self.refused: dict[str, int] = {}
        self.slow = False
        self.slow_while = folder.parent / "absent"  # or while this file is there
        self.trickling = threading.Event()
        index = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                with contextlib.suppress(OSError):  # who asked has gone
                    index.answer(self)

            def log_message(self, *_words: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        scheme, host = ("https", "localhost") if certificate else ("http", "127.0.0.1")
        self.address = f"{scheme}://{host}:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def wheel(self, page: str, name: str, **words: str) -> Path:
        """Put a tiny wheel on a page, e.g. "simple"."""
        return tiny_wheel(self.folder / page / name, name, **words)

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        path = urllib.parse.unquote(request.path).strip("/")
        self.asked.append(path)
        status = next((code for prefix, code in self.refused.items() if path.startswith(prefix)), 200)
        place = self.folder / path
        if status != 200 or not place.exists():
            request.send_error(status if status != 200 else 404)
        elif place.is_dir():
            links = (
                f'<a href="{urllib.parse.quote(file.name)}#sha256={hashlib.sha256(file.read_bytes()).hexdigest()}">'
                f"{file.name}</a>"
                for file in sorted(place.glob("*.whl"))
            )
            self._send(request, "".join(links).encode(), "text/html")
        else:
            self._send(request, place.read_bytes(), "application/octet-stream")

    def _send(self, request: http.server.BaseHTTPRequestHandler, content: bytes, kind: str) -> None:
        slow = (self.slow or self.slow_while.exists()) and kind != "text/html"
        request.send_response(200)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(content) + (10**9 if slow else 0)))
        request.end_headers()
        request.wfile.write(content)
        while slow:  # a large file that never ends
            request.wfile.write(bytes(2**20))
            request.wfile.flush()
            self.trickling.set()
            time.sleep(0.05)
