# SPDX-License-Identifier: GPL-3.0-or-later
"""Why pip or uv failed, in an artist's words, read from everything that they said.

pip ends nearly every failure with "No matching distribution": the cause stands lines above it, or only in its log.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

# What else than the add-on's preferences says where pip looks and what it may choose.
PIP_SETTINGS = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_CONSTRAINT", "PIP_NO_INDEX")
NO_BUILD = "no build"
_AGAIN = "connection broken by"  # pip tries again: what it says here decides only when nothing else does
_HOST = re.compile(r"https?://(?:[^/@\s'\"`)]*@)?([^/\s'\"`),]+)|host='([^']+)'")
_URL = re.compile(r"https?://[^\s'\"`),]+")
_REQUIREMENT = re.compile(r"satisfies the requirement ([A-Za-z0-9._-]+)([^\s(]*).*?\(from versions: ([^)]*)\)")


@dataclass(frozen=True)
class Cause:
    """What went wrong: its kind (for the code) and a clause with the way out (for the artist)."""

    kind: str
    sentence: str


@dataclass(frozen=True)
class _Sign:
    kind: str
    words: tuple[str, ...]  # any of them, in lower case
    sentence: Callable[[str, str], str]  # of (host, line)


def _named(host: str) -> str:
    return host or "the package index"


# In the order in which they decide: what is further down often follows from what is further up.
_SIGNS = (
    _Sign(
        "disk",
        ("no space left", "errno 28", "not enough space on the disk", "disk quota exceeded", "os error 112"),
        lambda _host, _line: "the disk is full; free about 3 GB (10 GB for a graphics card) and try again.",
    ),
    _Sign(
        "certificate",
        ("certificate_verify_failed", "invalid peer certificate", "confirming the ssl certificate",
         "certificate verify failed", "unknownissuer", "could not find a suitable tls ca certificate"),
        lambda host, _line: (
            f"the certificate of {_named(host)} is not trusted. A company's network may use its own: "
            "choose that file (your IT department has it) as Certificate File in the add-on's preferences."
        ),
    ),
    _Sign(
        "proxy password",
        ("407 proxy", "proxy authentication required", "status: 407"),
        lambda _host, _line: (
            "the network's proxy asks for a name and a password: put them into the variable HTTPS_PROXY "
            "(http://name:password@proxy:port) before Blender is started."
        ),
    ),
    _Sign(
        "proxy",
        ("proxyerror", "cannot connect to proxy", "tunnel error", "unable to connect to proxy"),
        lambda _host, _line: (
            "the network's proxy could not be reached: check it in the system's settings or in the variable HTTPS_PROXY"
            f"{_setting('HTTPS_PROXY', 'https_proxy')}, start Blender again, and try again."
        ),
    ),
    _Sign(
        "name",
        ("name or service not known", "temporary failure in name resolution", "nameresolutionerror", "dns error",
         "nodename nor servname", "getaddrinfo failed", "failed to resolve", "no such host is known"),
        lambda host, _line: (
            f"the network does not know the name {host or 'of the package index'}: is this computer online? If it is, "
            "check the addresses in the add-on's preferences for a slip."
        ),
    ),
    _Sign(
        "refused",
        ("connection refused", "errno 111", "winerror 10061", "errno 61", "os error 10061"),
        lambda host, _line: (
            f"{_named(host)} refused the connection: nothing answers at this address. Check it in the add-on's "
            "preferences, or try again later."
        ),
    ),
    _Sign(
        "forbidden",
        ("401 client error", "403 client error", "http error 401", "http error 403", "(401 ", "(403 "),
        lambda host, _line: (
            f"{_named(host)} lets nobody in without a name and a password, or not from here: ask who runs it; an "
            "address may hold them (https://name:password@...)."
        ),
    ),
    _Sign(
        "404",
        ("404 client error", "http error 404", "404 not found"),
        lambda host, line: (
            f"{_named(host)} answers, but has nothing at {_url(line)} (404). Check this address in the add-on's "
            "preferences."
        ),
    ),
    _Sign(
        "out of order",
        ("error responses", "500 server error", "502 server error", "503 server error", "504 server error",
         "http status server error"),
        lambda host, _line: f"{_named(host)} is out of order at the moment; try again later.",
    ),
    _Sign(
        "silent",
        ("timed out", "timeouterror", "operation timed out", "connecttimeout"),
        lambda host, _line: (
            f"{_named(host)} did not answer in time; try again later. Where a firewall is in between, ask for an index "
            "that may be reached and give it in the add-on's preferences."
        ),
    ),
    _Sign(
        "broken off",
        ("connection aborted", "connection reset", "incompleteread", "protocolerror", "network is unreachable",
         "no route to host", "max retries exceeded", "connection error", "error sending request"),
        lambda host, _line: f"the connection to {_named(host)} broke off; check the network and try again.",
    ),
    _Sign(
        "insecure",
        ("is not a trusted or secure host",),
        lambda _host, line: (
            f"{_between(line, 'located at ', ' is not')} is left out, because its address begins with http: write "
            "https, or ask your IT department for an address that does."
        ),
    ),
    _Sign(
        "not allowed",
        ("permission denied", "winerror 5]", "winerror 32]", "access is denied"),
        lambda _host, line: (
            f"a file may not be written or is in use ({line[:160]}); close other Blenders, look at what the virus "
            "scanner says, and try again."
        ),
    ),
)  # fmt: skip


def cause(said: Iterable[str], index: str = "", pages: Iterable[str] = ()) -> Cause:
    """Why a command of pip or uv failed. said: its lines; pages: what ``unread_pages`` found in pip's own log.

    index: the user's package index, "" for the public ones. The sentence is "" when nothing was said at all.
    """
    lines = [*said]
    conflict = next((line for line in lines if "resolutionimpossible" in line.lower()), None)
    if conflict is not None:
        return Cause("conflict", _conflict(lines, index))
    missing = next((match for line in lines if (match := _REQUIREMENT.search(line))), None)
    decisive = [line for line in lines if _AGAIN not in line] + _pages(pages, missing[1] if missing else "")
    offered = missing is not None and missing[3].strip() not in ("", "none")
    for among in () if offered else (decisive, lines):
        for sign in _SIGNS:
            line = next((line for line in among if any(word in line.lower() for word in sign.words)), None)
            if line is not None:
                return Cause(sign.kind, sign.sentence(_host(line, among), line))
    if missing is not None:
        return Cause(NO_BUILD, _no_build(missing, index))
    line = _last_error(lines)
    if "no matching distribution" in line.lower():
        return Cause(NO_BUILD, f"the package index has no build for this Python and system. ({line})")
    return Cause("other", line)


def explain(said: list[str], index: str = "", pages: Iterable[str] = ()) -> str:
    """The sentence of ``cause``."""
    return cause(said, index, pages).sentence


def _last_error(lines: list[str]) -> str:
    """The line that names the failure, where nothing better is known: pip's last ERROR, else the last."""
    return next((line for line in reversed(lines) if line.upper().startswith("ERROR")), lines[-1] if lines else "")


def unread_pages(log: Iterable[str]) -> list[str]:
    """The lines of pip's log about pages that could not be read; pip itself shows some of them only."""
    return [match[1].strip() for line in log if (match := re.search(r"(Could not fetch URL .*)", line))]


def _pages(unread: Iterable[str], name: str) -> list[str]:
    """Those of the package in question: others may live in one index and be absent from the next."""
    page = re.sub(r"[-_.]+", "-", name).lower()
    return [line for line in unread if not page or f"/{page}/" in line.lower()]


def _no_build(missing: re.Match[str], index: str) -> str:
    name, wanted, versions = missing[1], missing[2].lstrip("=<>~!"), missing[3].strip()
    package = f"{name} {wanted}".strip()
    has = f" (it has {', '.join(versions.split(', ')[-4:])})" if versions not in ("", "none") else ""
    return f"the package index{_of(index)} has no build of {package} for this Python and system{has}."


def _conflict(said: list[str], index: str) -> str:
    """The sentence for libraries of which no versions fit together; pip says why before its last line."""
    begin = next((number for number, line in enumerate(said, 1) if line.startswith("The conflict is caused by")), None)
    ends = ("To fix this", "Additionally", "ERROR")
    why = list(itertools.takewhile(lambda line: not line.startswith(ends), said[begin:] if begin else []))
    settings = [name for name in PIP_SETTINGS if os.environ.get(name)]
    return (
        f"the package index{_of(index)} has no versions of the engine's libraries that fit together"
        + (f" ({'; '.join(why[:3])})" if why else "")
        + "; choose another Package Index in the add-on's preferences, or change pip's own settings ("
        + ", ".join([*settings, "its configuration file"])
        + "), and try again."
    )


def _host(line: str, lines: Iterable[str]) -> str:
    """Who was asked: named in the line itself, else in one around it. Names and passwords are left out."""
    for candidate in (line, *(other for other in lines if "Could not fetch URL" in other or "for url" in other)):
        if match := _HOST.search(candidate):
            return match[1] or match[2]
    # uv and pip's warnings name the address in lines of their own
    looking = next((match for other in lines if "Looking in" in other and (match := _HOST.search(other))), None)
    return looking[1] if looking else ""


def _url(line: str) -> str:
    match = _URL.search(line)
    return without_password(match[0]).rstrip(":") if match else "this address"


def _of(index: str) -> str:
    return f" {without_password(index)}" if index else ""


def without_password(address: str) -> str:
    """An address as it may be shown."""
    return re.sub(r"//[^/@]*@", "//", address)


def _between(line: str, before: str, after: str) -> str:
    return line.partition(before)[2].partition(after)[0] or "The package index"


def _setting(*names: str) -> str:
    value = next((os.environ[name] for name in names if os.environ.get(name)), "")
    return f" (now {without_password(value)})" if value else ""
