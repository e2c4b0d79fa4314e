# SPDX-License-Identifier: Apache-2.0
"""Installing the engine, with real pip and a package index on loopback: every failure is said by its cause, nothing
large comes unasked, and a cancelled or crashed installation leaves nothing behind."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from blender_addon.client import install, pip_words, processes, pythons, torch_builds
from blender_addon.client.workshop import Sources, Workshop, size_of
from fake_index import Index, engine_wheel, tiny_wheel

ROOT = Path(__file__).resolve().parents[2]
PINNED = torch_builds.VERSION


@pytest.fixture
def own_pip(monkeypatch):
    """pip without this machine's settings, neither from the environment nor from a configuration file."""
    for name in list(os.environ):
        if name.startswith(("PIP_", "UV_")) or name.lower().endswith("_proxy") or name.endswith("_CA_BUNDLE"):
            monkeypatch.delenv(name)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("PIP_RETRIES", "0")
    # what an artist's machine has; PIP_CONFIG_FILE would say that pip is set up to look elsewhere
    monkeypatch.setattr(pythons, "plain_environment", clean_environment)
    monkeypatch.setattr("blender_addon.client.workshop.plain_environment", clean_environment)


def clean_environment(without_path: bool = True) -> dict[str, str]:
    return dict(os.environ) | {"PIP_CONFIG_FILE": os.devnull}


@pytest.fixture
def offline(tmp_path, monkeypatch, own_pip):
    """An installation whose package index is a folder with a stand-in torch, in a place with spaces and umlauts."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", (tmp_path / "index").as_uri())
    tiny_wheel(tmp_path / "index", "torch", version=PINNED)
    return install.Installation(tmp_path / "the ängine" / "engine", tmp_path / "wheels")


@pytest.fixture
def index(tmp_path, own_pip, monkeypatch):
    """The public indexes, stood in for: /simple has everything, /whl/cpu and so on are torch's own."""
    served = Index(tmp_path / "served")
    monkeypatch.setattr(torch_builds, "INDEX", f"{served.address}/whl/")
    monkeypatch.setattr(torch_builds, "has_card", lambda: False)
    served.wheel("simple", "torch", version=PINNED)
    served.wheel("whl/cpu", "torch", version=f"{PINNED}+cpu")
    yield served
    served.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Path:
    """An environment with nothing installed yet: making one takes seconds."""
    folder = tmp_path_factory.mktemp("shared") / "engine"
    subprocess.run([sys.executable, "-I", "-m", "venv", str(folder)], check=True)
    return folder


@pytest.fixture
def environment(shared):
    """The shared environment, emptied of torch and engine."""
    yield shared
    packages = next(shared.rglob("site-packages"))
    for name in ("torch*", "blendsplat*"):
        for folder in packages.glob(name):
            shutil.rmtree(folder)
    (shared / install.COMPLETE).unlink(missing_ok=True)


@pytest.fixture
def installation(environment, tmp_path):
    """installation(**sources): into the shared environment, of an engine that says hello."""
    engine_wheel(tmp_path / "wheels")

    def make(**sources: str) -> install.Installation:
        return install.Installation(environment, tmp_path / "wheels", Sources(**sources))

    return make


def until(condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


# --- which torch


@pytest.mark.parametrize(
    ("says", "flavours"),
    [
        ("CUDA Version: 12.9", ["cu126"]),
        ("CUDA Version: 13.1", ["cu130", "cu126"]),
        ("CUDA Version: 12.4", []),
        ("broken", []),
    ],
)
def test_torch_for_this_machine(says, flavours):
    if sys.platform == "darwin":
        pytest.skip("no CUDA on this system")
    driver = torch_builds.cuda_of_driver(lambda *a, **k: SimpleNamespace(stdout=says))
    assert torch_builds.flavours_for(driver) == flavours


def test_no_card_means_the_processors_build(monkeypatch, own_pip):
    def absent(*_a, **_k):
        raise FileNotFoundError

    assert torch_builds.cuda_of_driver(absent) is None
    monkeypatch.setattr(torch_builds, "has_card", lambda: True)
    (build,) = torch_builds.builds("AUTO", driver=lambda: None)
    assert build.index.endswith("/cpu") and not build.for_card


def test_the_version_is_the_tested_one():
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert f"torch=={torch_builds.VERSION}\n" in text


def test_size_and_choice_are_said(own_pip):
    small, large = torch_builds.planned("CPU"), torch_builds.planned("CUDA")
    assert "about 2 GB" in torch_builds.in_words(small) and "processor" in torch_builds.in_words(small)
    assert "about 6 GB" in torch_builds.in_words(large) and PINNED in torch_builds.in_words(large)
    copy = torch_builds.planned("AUTO", torch_index="https://copy/cpu")
    assert copy.words[1:] == ("--index-url", "https://copy/cpu") and not copy.for_card
    assert torch_builds.planned("CPU", torch_index="https://copy/cu130").for_card
    if sys.platform.startswith("linux"):
        words = torch_builds.in_words(torch_builds.planned("CPU", index="https://company/simple"))
        assert "about 6 GB" in words and "has no smaller one" in words, "the choice was the processor's"


def test_torch_comes_from_its_own_index(index, installation):
    index.wheel("simple", "blendsplat-needs-this", version="1.0")
    now = installation(torch="CPU")
    now.run()
    assert now.state == "done", now.error
    assert f"whl/cpu/torch/torch-{PINNED}+cpu-py3-none-any.whl" in index.asked
    assert now.fraction == 1.0 and "about 2 GB" in "\n".join(now.lines)


@pytest.mark.parametrize(("status", "cause"), [(403, "lets nobody in"), (404, "has nothing at"), (503, "out of order")])
def test_no_other_torch_follows_silently(index, installation, status, cause):
    """It was the ordinary index's 6 GB for graphics cards, whatever the machine had."""
    index.refused["whl/"] = status
    now = installation(torch="CPU", index="")
    now.run()
    assert now.state == "failed" and cause in now.error
    assert not [path for path in index.asked if path.startswith("simple")]
    assert "No other build was taken" in now.error and "Torch Index" in now.error


def test_a_library_cannot_bring_another_torch(index, environment, tmp_path):
    """It would be the ordinary index's, whatever that is."""
    index.wheel("simple", "torch", version="2.14.0")
    tiny_wheel(tmp_path / "wheels", "blendsplat", needs="torch>=2.14")
    now = install.Installation(environment, tmp_path / "wheels", Sources(torch="CPU"))
    now.sources = Sources(torch="CPU", torch_index=f"{index.address}/whl/cpu", index=f"{index.address}/simple")
    now.run()
    assert now.state == "failed" and "no versions of the engine's libraries that fit together" in now.error
    assert next(environment.rglob("torch-*.dist-info")).name == f"torch-{PINNED}+cpu.dist-info"


def test_an_older_drivers_build_is_tried_where_the_newer_is_absent(index, installation, monkeypatch):
    index.wheel("whl/cu130", "torch", version="2.1.0+cu130")
    index.wheel("whl/cu126", "torch", version=f"{PINNED}+cu126")
    monkeypatch.setattr(torch_builds, "cuda_of_driver", lambda: (13, 2))
    now = installation(torch="CUDA")
    now.run()
    assert now.state == "done", now.error
    assert any("cu126/torch/torch-" in path for path in index.asked)


def test_another_build_takes_the_place_of_the_one_installed(index, installation, environment):
    installation(torch="CPU").run()
    index.wheel("whl/cu126", "torch", version=f"{PINNED}+cu126")
    now = installation(torch="CUDA")
    torch_builds_driver = torch_builds.cuda_of_driver
    try:
        torch_builds.cuda_of_driver = lambda: (12, 8)
        now.run()
    finally:
        torch_builds.cuda_of_driver = torch_builds_driver
    assert now.state == "done", now.error
    assert next(environment.rglob(f"torch-{PINNED}*.dist-info")).name == f"torch-{PINNED}+cu126.dist-info"


def test_a_companys_indexes_are_used(index, installation):
    index.wheel("copy/cpu", "torch", version=f"{PINNED}+cpu")
    index.refused["whl/"] = index.refused["simple/"] = 403
    now = installation(index=f"{index.address}/company", torch_index=f"{index.address}/copy/cpu")
    now.run()
    assert now.state == "done", now.error
    assert not [path for path in index.asked if path.startswith(("whl", "simple"))]


# --- causes


def broken(index: Index, monkeypatch, how: str) -> str:
    """A package index's address that fails in this way."""
    if how == "proxy":
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    return {
        "name": "https://no-such-host.invalid/simple",
        "insecure": "http://no-such-host.invalid/simple",
        "refused": "https://127.0.0.1:9/simple",
        "proxy": "https://index.invalid/simple",
        "404": f"{index.address}/nothing/here",
        "forbidden": f"{index.address}/simple",
        "no build": f"{index.address}/other",
        "old": f"{index.address}/old",
    }[how]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("name", "does not know the name no-such-host.invalid"),
        ("insecure", "no-such-host.invalid is left out, because its address begins with http"),
        ("refused", "127.0.0.1:9 refused the connection"),
        ("proxy", "the network's proxy could not be reached"),
        ("404", "has nothing at http://127.0.0.1"),
        ("forbidden", "lets nobody in without a name and a password"),
        ("no build", f"has no build of torch {PINNED} for this Python and system."),
        ("old", "(it has 2.1.0, 2.2.0)"),
    ],
)
def test_pips_failures_are_said_by_their_cause(index, installation, monkeypatch, how, words):
    index.wheel("other", "torch", version=PINNED, tag="cp38-cp38-win32")
    for version in ("2.1.0", "2.2.0"):
        index.wheel("old", "torch", version=version)
    if how == "forbidden":
        index.refused["simple"] = 403
    now = installation(index=broken(index, monkeypatch, how))
    now.run()
    assert now.state == "failed" and now.error.startswith("torch could not be downloaded: ")
    assert words in now.error
    told = now.workshop.log.read_text("utf-8")
    assert now.error in told and (how != "404" or "404 Client Error" in told), "the log tells it as well"


@pytest.fixture
def secure(tmp_path, own_pip):
    """An index whose certificate nobody knows, and the certificate's file."""
    if not shutil.which("openssl"):
        pytest.skip("openssl makes the certificate")
    certificate, key = tmp_path / "company.pem", tmp_path / "key.pem"
    words = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout {key} -out {certificate}"  # noqa: E501
    subprocess.run(words.split(), check=True, capture_output=True)
    served = Index(tmp_path / "served", (certificate, key))
    served.wheel("simple", "torch", version=PINNED)
    yield served, certificate
    served.close()


def test_a_certificate_that_nobody_knows_and_its_file(secure, installation):
    served, certificate = secure
    now = installation(index=f"{served.address}/simple")
    now.run()
    assert now.state == "failed" and "the certificate of localhost" in now.error and "Certificate File" in now.error
    now = installation(index=f"{served.address}/simple", certificate=str(certificate))
    now.run()
    assert now.state == "done", now.error
    now = installation(certificate=str(certificate) + ".absent")
    now.run()
    assert "does not exist" in now.error


def uv(*causes: str) -> list[str]:
    """uv's lines for a download that failed."""
    return [
        "error: Failed to install cpython-3.12.16-linux-x86_64-gnu",
        "cause: Failed to download `https://mirror.example/20261110/cpython.tar.gz`",
        "cause: error sending request for url (https://mirror.example/20261110/cpython.tar.gz)",
        *causes,
    ]


REFUSED = "cause: Connection refused (os error 111)"
PIP = "ERROR: Could not install packages due to an OSError: "
TIMEOUT = "ReadTimeoutError: HTTPSConnectionPool(host='files.example', port=443): Read timed out."


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (uv("cause: invalid peer certificate: UnknownIssuer"), "the certificate of mirror.example"),
        (uv("cause: dns error", "cause: Name or service not known"), "not know the name mirror.example"),
        (uv("cause: tcp connect error", REFUSED), "mirror.example refused"),
        (uv("cause: tunnel error: failed to create underlying connection", REFUSED), "proxy could not"),
        (uv("cause: operation timed out"), "mirror.example did not answer in time"),
        (
            ["error: x", "cause: HTTP status client error (404 Not Found) for url (https://mirror.example/a.tar.gz)"],
            "has nothing at https://mirror.example/a.tar.gz (404)",
        ),
        ([PIP + "[Errno 28] No space left on device"], "the disk is full"),
        (["OSError: Tunnel connection failed: 407 Proxy Authentication Required"], "asks for a name and a password"),
        ([PIP + "[WinError 32] used by another process: 'C:\\\\a.pyd'"], "is in use"),
        ([TIMEOUT], "files.example did not answer in time"),
        (["ERROR: it broke", "and said more"], "ERROR: it broke"),
        (["the first line", "the last line"], "the last line"),
    ],
)
def test_what_uv_and_others_say(said, words, own_pip):
    assert words in pip_words.explain(said)


def test_a_retry_that_went_well_is_no_cause(own_pip):
    said = [
        "WARNING: Retrying (Retry(total=4)) after connection broken by 'NewConnectionError(... Connection refused')'",
        "ERROR: Could not find a version that satisfies the requirement torch==2.13.0 (from versions: 2.1.0, 2.2.0)",
        "ERROR: No matching distribution found for torch==2.13.0",
    ]
    assert pip_words.cause(said).kind == pip_words.NO_BUILD
    said[1] = said[1].replace("2.1.0, 2.2.0", "none")
    assert pip_words.cause(said).kind == "refused"


def test_another_packages_missing_page_is_no_cause(own_pip):
    said = ["ERROR: Could not find a version that satisfies the requirement torch==2.13.0 (from versions: none)"]
    log = [
        "Could not fetch URL https://a.example/simple/numpy/: 404 Client Error: Not Found for url: https://a.example"
    ]
    assert pip_words.cause(said, pages=log).kind == pip_words.NO_BUILD
    assert pip_words.cause(said, pages=[log[0].replace("numpy", "torch")]).kind == "404"


def test_passwords_are_not_shown(own_pip):
    said = ["ERROR: HTTP error 404 while getting https://ann:secret@a.example/x.whl"]
    assert "secret" not in pip_words.explain(said)
    missing = ["ERROR: Could not find a version that satisfies the requirement torch (from versions: none)"]
    assert "secret" not in pip_words.explain(missing, "https://ann:secret@a.example/simple")


def test_libraries_that_do_not_fit_together_are_said(offline, environment, tmp_path):
    """pip ends with ResolutionImpossible when it has tried several versions in vain."""
    offline.directory = environment
    engine_wheel(tmp_path / "wheels")
    tiny_wheel(tmp_path / "index", "torch", version=PINNED, needs="blendsplat-absent")
    tiny_wheel(tmp_path / "index", "torch", version=f"{PINNED}+other", needs="blendsplat-absent")
    offline.run()
    assert offline.state == "failed" and any("ResolutionImpossible" in line for line in offline.lines)
    assert "torch could not be downloaded: the package index has no versions" in offline.error
    assert "depends on blendsplat-absent" in offline.error
    assert "choose another Package Index in the add-on's preferences" in offline.error
    assert "PIP_FIND_LINKS" in offline.error and "PIP_CONSTRAINT" not in offline.error


def test_a_conflict_names_the_users_package_index(own_pip):
    said = [
        "ERROR: Cannot install torch because these package versions have conflicting dependencies.",
        "The conflict is caused by:",
        "The user requested torch",
        "The user requested (constraint) torch<0.1",
        "Additionally, some packages in these conflicts have no matching distributions available for your environment:",
        "torch",
        "To fix this you could try to:",
        "ERROR: ResolutionImpossible: for help visit https://pip.pypa.io",
    ]
    sentence = pip_words.explain(said, "https://index.example/simple")
    assert "the package index https://index.example/simple has no versions" in sentence
    assert "(The user requested torch; The user requested (constraint) torch<0.1)" in sentence
    assert "change pip's own settings (its configuration file)" in sentence


def test_a_missing_package_is_said(offline, environment, tmp_path):
    offline.directory = environment
    engine_wheel(tmp_path / "wheels")
    next((tmp_path / "index").glob("torch-*")).unlink()
    offline.run()
    assert offline.state == "failed" and "package index" in offline.error


# --- which Python


def machine() -> str:
    """This machine as wheels name it."""
    return f"manylinux_2_28_{platform.machine().lower()}"


def test_the_wheel_for_each_python(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    for tag in ("cp311-cp311-manylinux_2_28_x86_64", "cp312-cp312-manylinux_2_28_x86_64", "cp313-cp313-win_amd64",
                "cp312-cp312-manylinux_2_28_zz_aarch64"):  # fmt: skip
        (tmp_path / f"blendsplat-0.1.0-{tag}.whl").write_bytes(b"")
    found = install.bundled_wheels(tmp_path)
    assert {version: path.name.split("-")[2] for version, path in found.items()} == {(3, 11): "cp311", (3, 12): "cp312"}
    assert "x86_64" in found[3, 12].name, "a wheel for another processor"
    (tmp_path / "blendsplat-0.1.0-cp311-abi3-manylinux_2_28_x86_64.whl").write_bytes(b"")
    assert (3, 13) in install.bundled_wheels(tmp_path)
    assert install.bundled_wheels(tmp_path / "absent") == {}
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    monkeypatch.setattr(sys, "platform", "darwin")
    (tmp_path / "blendsplat-0.1.0-cp313-cp313-macosx_11_0_arm64.whl").write_bytes(b"")
    assert list(install.bundled_wheels(tmp_path)) == [(3, 13)]


def test_versions_in_words():
    assert pythons.in_words({(3, 11): 1, (3, 12): 2, (3, 13): 3}) == "3.12, 3.11 or 3.13"
    assert pythons.in_words([(3, 11)]) == "3.11"


def test_only_pythons_that_fit_are_looked_for_and_named(tmp_path, monkeypatch, own_pip):
    """The zip held a wheel for 3.11, and the sentence advised 3.12."""
    if not sys.platform.startswith("linux"):
        pytest.skip("the wheel's name is Linux's")
    tiny_wheel(tmp_path / "wheels", "blendsplat", tag=f"cp311-cp311-{machine()}")
    looked = []
    monkeypatch.setattr(shutil, "which", lambda name: looked.append(name))
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.delenv("PYENV_ROOT", raising=False)
    monkeypatch.setattr(pythons, "PLACES", ())
    now = install.Installation(tmp_path / "engine", tmp_path / "wheels", own_python=str(tmp_path / "none"))
    now.run()
    assert now.state == "failed"
    assert "needs Python 3.11." in now.error and "Install Python 3.11 from python.org" in now.error
    assert "3.12" not in now.error and "3.13" not in now.error
    assert "python3.11" in looked and "python3.12" not in looked


def test_why_no_python_could_be_fetched(index, tmp_path, monkeypatch):
    """Blender's Python does not fit, uv comes from the index, and its mirror has nothing."""
    if not sys.platform.startswith("linux"):
        pytest.skip("the wheel's name is Linux's")
    absent = next(version for version in pythons.VERSIONS if version != sys.version_info[:2])
    tag = f"cp{absent[0]}{absent[1]}-cp{absent[0]}{absent[1]}-{machine()}"
    tiny_wheel(tmp_path / "wheels", "blendsplat", tag=tag)
    monkeypatch.setattr(install, "candidates", lambda _versions: iter(()))
    monkeypatch.setattr(pythons, "any_python", lambda: iter(()))
    body = "import os, sys; print('error: Failed to install'); print('cause: HTTP status client error (404 Not Found) for url (' + os.environ['UV_PYTHON_INSTALL_MIRROR'] + '/cpython.tar.gz)'); sys.exit(1)"  # noqa: E501
    index.wheel("simple", "uv", body=body, version="0.1")
    now = install.Installation(
        tmp_path / "engine", tmp_path / "wheels",
        Sources(index=f"{index.address}/simple", python_mirror="https://mirror.example"),
    )  # fmt: skip
    now.run()
    wanted = f"{absent[0]}.{absent[1]}"
    assert now.state == "failed" and f"needs Python {wanted}" in now.error
    assert "mirror.example answers, but has nothing at https://mirror.example/cpython.tar.gz" in now.error
    assert "Python Mirror" in now.error


# --- from one attempt to the next


@pytest.mark.slow
def test_installation_fails_in_words_and_is_repeated(offline, tmp_path):
    offline.run()
    assert offline.state == "failed" and "without an engine inside" in offline.error
    tiny_wheel(tmp_path / "wheels", "blendsplat", "raise SystemExit(3)")
    broken = install.Installation(offline.directory, offline.wheels)
    broken.run()
    assert broken.state == "failed" and "status 3" in broken.error
    assert not (offline.directory / install.COMPLETE).exists()
    engine_wheel(tmp_path / "wheels")
    again = install.Installation(offline.directory, offline.wheels)
    again.run()
    assert again.state == "done", again.error
    assert json.loads((offline.directory / install.COMPLETE).read_text())["version"] == "0.1.0"
    assert "Making the engine's environment" not in again.lines, "the environment was made anew"


def test_an_engine_of_another_version_is_updated(offline, environment, tmp_path):
    offline.directory = environment
    old = engine_wheel(tmp_path / "wheels")
    offline.run()
    report = json.loads((environment / install.COMPLETE).read_text())
    assert offline.state == "done" and install.update_for(report, tmp_path / "wheels") is None
    old.unlink()
    engine_wheel(tmp_path / "wheels", "0.2.0")
    assert install.update_for(report, tmp_path / "wheels") == ("0.1.0", "0.2.0")
    assert install.update_for({}, tmp_path / "wheels") is None
    now = install.Installation(environment, tmp_path / "wheels")
    now.run()
    assert now.state == "done", now.error
    assert json.loads((environment / install.COMPLETE).read_text())["version"] == "0.2.0"
    assert not any("Making the engine's environment" in line for line in now.lines)


# --- cancelled, crashed, twice at once


def processes_with(text: str) -> list[int]:
    """Numbers of processes whose command line holds this text."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if text in (place / "cmdline").read_bytes().decode("utf-8", "replace") and processes.alive(place.name):
                found.append(int(place.name))
        except OSError:
            continue
    return [number for number in found if number != os.getpid()]


@pytest.fixture
def trickle(index):
    index.slow = True
    return index


def test_cancelling_leaves_nothing(trickle, installation):
    """It left pip running, and pip's temporary files."""
    now = installation(torch="CPU").start()
    assert trickle.trickling.wait(60)
    until(lambda: size_of(now.workshop.temporary) > 2**20)
    now.cancel()
    assert now.cancelling
    until(lambda: now.state != "running")
    assert now.state == "cancelled" and now.error == ""
    assert not now.workshop.temporaries.exists() and not now.workshop.cache.exists()
    if Path("/proc/self").exists():
        assert not processes_with(str(now.workshop.folder))


def test_the_bar_moves_with_what_comes(trickle, installation, monkeypatch):
    monkeypatch.setattr(install, "_MEASURED", 0.1)
    now = installation(torch="CPU").start()
    assert trickle.trickling.wait(60)
    until(lambda: now.come > 2**21)
    first = now.fraction
    until(lambda: now.fraction > first)
    assert 0.15 < first < now.fraction < 0.7
    now.cancel()
    until(lambda: now.state != "running")


SCRIPT = """
import os, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from blender_addon.client import install, torch_builds, workshop
workshop.plain_environment = lambda: dict(os.environ) | {"PIP_CONFIG_FILE": os.devnull}
from blender_addon.client.workshop import Sources
torch_builds.INDEX = sys.argv[4]
torch_builds.has_card = lambda: False
now = install.Installation(Path(sys.argv[2]), Path(sys.argv[3]), Sources(torch="CPU"))
now.run()
print(now.state, now.error)
"""


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="processes are looked for in /proc")
def test_a_crash_leaves_nothing_and_no_lock(trickle, installation, tmp_path):
    now = installation(torch="CPU")
    words = [sys.executable, "-c", SCRIPT, str(ROOT), str(now.directory), str(now.wheels), torch_builds.INDEX]
    blender = subprocess.Popen(words)
    try:
        assert trickle.trickling.wait(60)
        until(lambda: size_of(now.workshop.temporaries) > 2**20)
        second = installation(torch="CPU")
        second.run()
        assert second.state == "failed" and f"Another Blender (process {blender.pid})" in second.error
        assert any(now.workshop.temporaries.iterdir()), "the second one emptied the first one's folder"
        assert processes_with(str(now.workshop.folder))
    finally:
        os.kill(blender.pid, signal.SIGKILL)
        blender.wait()
    until(lambda: not processes_with(str(now.workshop.folder)))
    until(lambda: not any(now.workshop.temporaries.iterdir()))
    trickle.slow = False
    third = installation(torch="CPU")
    third.run()
    assert third.state == "done", third.error


def test_what_an_older_installation_left_is_emptied(installation, own_pip):
    now = installation(index="https://127.0.0.1:9/simple")
    left = now.workshop.temporaries / "1234" / "pip-unpack-abc" / "torch.whl"
    left.parent.mkdir(parents=True)
    left.write_bytes(bytes(1000))
    now.run()
    assert now.state == "failed" and not left.exists()


def test_everything_is_written_beside_the_engine(tmp_path, own_pip):
    workshop = Workshop(tmp_path / "engine")
    environment = workshop.environment(Sources(certificate="/c.pem", python_mirror="https://m", index="https://i"))
    for name in ("TMPDIR", "TEMP", "TMP", "PIP_CACHE_DIR", "UV_CACHE_DIR", "UV_PYTHON_INSTALL_DIR"):
        assert environment[name].startswith(str(tmp_path)), name
    assert environment["PIP_CERT"] == environment["SSL_CERT_FILE"] == "/c.pem"
    assert environment["UV_PYTHON_INSTALL_MIRROR"] == "https://m" and environment["UV_DEFAULT_INDEX"] == "https://i"
    assert not {"PYTHONHOME", "PYTHONEXECUTABLE"} & set(environment)


def test_removing_the_engine(tmp_path):
    workshop = Workshop(tmp_path / "engine")
    for place in (workshop.engine / "lib", workshop.pythons / "a", workshop.cache, workshop.temporary):
        place.mkdir(parents=True)
        (place / "file").write_bytes(bytes(1000))
    kept = tmp_path / "logs" / "engine-1-1.log"
    kept.parent.mkdir()
    kept.write_text("kept")
    with workshop.locked(), pytest.raises(Exception, match="Another Blender"):
        install.remove(workshop.engine)
    assert workshop.engine.exists()
    assert install.remove(workshop.engine) == 4000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["logs"]


def test_the_guard_ends_what_its_command_started(tmp_path):
    if sys.platform == "win32":
        pytest.skip("told by process numbers of this system")
    folder, told = tmp_path / "tmp", tmp_path / "child"
    folder.mkdir()
    stubborn = "import os, signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    body = f"{stubborn} p = subprocess.Popen([sys.executable, '-c', 'import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)']); open({str(told)!r}, 'w').write(str(p.pid)); time.sleep(600)"  # noqa: E501
    guard = Path(install.__file__).with_name("guard.py")
    words = [sys.executable, "-I", str(guard), str(folder), sys.executable, "-c", body]
    process = subprocess.Popen(words, stdin=subprocess.PIPE)
    until(lambda: told.exists() and re.fullmatch(r"\d+", told.read_text()))
    process.stdin.close()
    assert process.wait(30) == 75
    until(lambda: not running(int(told.read_text())))
    assert not folder.exists()


def running(number: int) -> bool:
    """The process works: it is not a dead one that nobody has asked for its status."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{number}/status").read_text()
    except OSError:
        return processes.alive(number) and not Path("/proc/self").exists()


def test_the_guard_passes_lines_and_status_on(tmp_path):
    guard = Path(install.__file__).with_name("guard.py")
    words = [
        sys.executable,
        "-I",
        str(guard),
        str(tmp_path),
        sys.executable,
        "-c",
        "print('hello'); raise SystemExit(7)",
    ]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.read() == "hello\n" and process.wait(30) == 7
    process.stdin.close()
