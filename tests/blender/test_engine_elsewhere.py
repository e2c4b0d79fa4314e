# SPDX-License-Identifier: Apache-2.0
"""An engine behind ssh: what ssh says is said, paths are told apart, words stay whole, logs stay one engine's own, and
a frozen connection freezes nothing."""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import bpy
import pytest
from blender_addon import preferences
from blender_addon.client import engine_words, exit_words, jobs, pump, session, shared_folders
from blender_addon.client import link as engine_link
from blender_addon.client.link import Link, LinkError
from blender_addon.ui.operators import import_video, track

import synthetic

HERE = Path(__file__).resolve().parent
FAKE = HERE / "fake_engine.py"
AT_ONCE = 0.5  # seconds after which an artist asks whether Blender hangs

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for ssh needs a shell")


class Far(preferences._Defaults):
    """Preferences of an engine elsewhere."""

    engine_kind = "COMMAND"

    def __init__(self, command: str, *folders: tuple[str, str]) -> None:
        self.engine_command = command
        self.folders = [type("Folder", (), {"here": here, "there": there})() for here, there in folders]


@pytest.fixture
def ssh(tmp_path, monkeypatch) -> str:
    """A program called ssh."""
    path = tmp_path / "programs" / "ssh"
    path.parent.mkdir()
    path.write_text(
        f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(HERE / "stand_in_ssh.py"))} "$@"\n'
    )
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def far(scene, ssh, monkeypatch):
    """far(("/here", "/there"), ...): the stand-in engine behind the stand-in for ssh, in these preferences."""

    def use(*folders: tuple[str, str], host: str = "gpu-box", bad: str = "") -> Far:
        session.stop()
        prefs = Far(f"{ssh} -o BatchMode=yes {host} {sys.executable} {FAKE} {bad}", *folders)
        monkeypatch.setattr(preferences, "get", lambda: prefs)
        return prefs

    return use


# --- what ssh says


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("nowhere", ["Could not resolve hostname nowhere", "Check the machine's name"]),
        ("stranger", ["Host key verification failed.", "does not know that machine yet", "connect once in a terminal"]),
        ("changed", ["Host key verification failed.", "shows another key", "ssh-keygen -R"]),
        ("locked", ["Permission denied (publickey,password).", "ssh-add"]),
        ("closed", ["Connection refused", "Is that machine on"]),
    ],
)
def test_sshs_last_words_stand_in_the_error(far, host, words):
    far(host=host)
    with pytest.raises(LinkError):
        session.start(patient=False)
        session.link.wait_ready(20)
    for word in words:
        assert word in session.link.sentence, session.link.sentence


def test_what_a_silent_command_said_last(far, monkeypatch):
    monkeypatch.setattr(engine_link, "HELLO_SECONDS", 1.0)
    far(host="silent")
    session.start(patient=False)
    with pytest.raises(LinkError, match="It said last: Enter passphrase for key"):
        session.link.wait_ready(20)


def test_a_command_that_is_not_there(far):
    prefs = far()
    prefs.engine_command = prefs.engine_command.replace(sys.executable, "no-such-engine")
    session.start(patient=False)
    with pytest.raises(LinkError, match=r"not found on that machine: .*no-such-engine"):
        session.link.wait_ready(20)


def test_a_lost_connection_without_words():
    assert exit_words.exit_sentence(255) == "The connection to the engine's machine was lost or refused (ssh)."


# --- words


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ('"/opt/my engine/bin/blendsplat" serve', ["/opt/my engine/bin/blendsplat", "serve"]),
        ("ssh box blendsplat serve", ["ssh", "box", "blendsplat", "serve"]),
        ("ssh -p 22 -oX=y box '/my engine/b' serve", ["ssh", "-p", "22", "-oX=y", "box", "'/my engine/b'", "serve"]),
        ("ssh box bash -lc 'blendsplat serve'", ["ssh", "box", "bash", "-lc", "'blendsplat serve'"]),
        ("ssh box '\"/opt/my engine/b\" serve'", ["ssh", "box", '"/opt/my engine/b" serve']),
        ("ssh box 'cd /x &&' blendsplat serve", ["ssh", "box", "cd /x &&", "blendsplat", "serve"]),
        ("ssh", ["ssh"]),
        ("", []),
    ],
)  # fmt: skip
def test_words(command, words):
    assert engine_words.split(command, windows=False) == words


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (r'"C:\Program Files\python.exe" -m blendsplat', [r"C:\Program Files\python.exe", "-m", "blendsplat"]),
        (r'ssh -i="C:\my keys\k" box blendsplat serve', ["ssh", r"-i=C:\my keys\k", "box", "blendsplat", "serve"]),
        (r'ssh.exe box "\"/opt/my engine/b\" serve"', ["ssh.exe", "box", '"/opt/my engine/b" serve']),
        (r"C:\dir\engine.exe serve", [r"C:\dir\engine.exe", "serve"]),
        (r'a "" b', ["a", "", "b"]),
        (r'"C:\a b\\" c', ["C:\\a b\\", "c"]),
    ],
)  # fmt: skip
def test_words_on_windows(command, words):
    assert engine_words.split(command, windows=True) == words
    if "ssh" not in command:
        assert engine_words.split(subprocess.list2cmdline(words), windows=True) == words


@pytest.mark.parametrize("windows", [False, True])
def test_an_open_quote_is_said(far, windows, monkeypatch):
    with pytest.raises(ValueError, match="quotation"):
        engine_words.split('ssh "box', windows)
    far().engine_command = 'ssh "box'
    with pytest.raises(LinkError, match="unbalanced quotes"):
        session.engine_command()
    assert not session.elsewhere()


def test_a_path_with_spaces_survives_the_way_through_ssh(far, tmp_path):
    program = tmp_path / "my engine" / "fake ü.py"
    program.parent.mkdir()
    program.write_text(
        f"import runpy, sys; sys.path.insert(0, {str(HERE)!r}); runpy.run_path({str(FAKE)!r}, run_name='__main__')"
    )
    prefs = far()
    prefs.engine_command = prefs.engine_command.replace(str(FAKE), f'"{program}"')
    session.start(patient=False)
    session.link.wait_ready(20)
    assert session.link.hello["version"] == "fake"


# --- paths


def test_several_pairs_the_longest_decides():
    pairs = [("/mnt/a", "/srv/a"), ("/mnt/a/b", "/data/b"), ("", "/x"), ("/y", "")]
    assert shared_folders.to_engine("/mnt/a/b/c.mp4", pairs) == "/data/b/c.mp4"
    assert shared_folders.to_engine("/mnt/a/x.mp4", pairs) == "/srv/a/x.mp4"
    assert shared_folders.to_engine("/mnt/about/x.mp4", pairs) == "/mnt/about/x.mp4"
    assert shared_folders.to_engine("/y/x", pairs) == "/y/x"
    assert shared_folders.to_here("/data/b/c.mp4", pairs) == "/mnt/a/b/c.mp4"
    assert shared_folders.to_engine("P:\\shots\\a\\b.mp4", [("P:\\shots\\", "/srv/shots")]) == "/srv/shots/a/b.mp4"


def test_a_file_that_only_this_machine_has(far, tmp_path):
    far()
    here = tmp_path / "talk.mp4"
    here.write_bytes(b"x")
    sentence = session.about_paths(f"{here} does not exist or is not a file.", {"video": str(here), "size": 512})
    assert "This is said of the engine's machine, this one has it." in sentence and "Shared Folders" in sentence
    absent = session.about_paths("/srv/a.mp4 does not exist.", {"video": "/srv/a.mp4"})
    assert "said of the engine's machine." in absent and "Shared Folders" in absent
    denied = f"An error (PermissionError: [Errno 13] Permission denied: '{tmp_path}')."
    assert "engine's machine" in session.about_paths(denied, {"directory": str(tmp_path / "talk avatar")})
    for other in ("No face was found.", f"{here} has no face."):
        assert session.about_paths(other, {"video": str(here)}) == other


def test_a_wrong_name_of_a_shared_folder(far, tmp_path):
    far((str(tmp_path), "/srv/wrong"))
    (tmp_path / "talk.mp4").write_bytes(b"x")
    sentence = session.about_paths("/srv/wrong/talk.mp4 does not exist.", {"video": "/srv/wrong/talk.mp4"})
    assert "Check the folder's name there" in sentence
    sentence = session.about_paths("/srv/wrong/other.mp4 does not exist.", {"video": "/srv/wrong/other.mp4"})
    assert f"here it would be {tmp_path / 'other.mp4'}, which does not exist either" in sentence


def test_an_engine_of_this_machine_is_told_nothing_of_another(scene, monkeypatch):
    assert session.about_paths("/a/b does not exist.", {"video": "/a/b"}) == "/a/b does not exist."
    monkeypatch.setattr(preferences, "get", lambda: Far("blendsplat serve"))
    assert session.about_paths("/a/b does not exist.", {"video": "/a/b"}) == "/a/b does not exist."


def test_errors_of_questions_and_jobs_say_it(far, video, tmp_path):
    far(bad="noface")
    failures = []
    absent = tmp_path / "a.avatar.npz"
    session.ask("avatar.drive", {"path": str(absent), "shown": "full"}, failed=failures.append, wait=True)
    assert "does not exist" in failures[0] and "engine's machine" in failures[0]
    bpy.ops.blendsplat.import_video()
    with pytest.raises(RuntimeError, match="No face was found"):
        bpy.ops.blendsplat.track()
    job = jobs.Job("train", {"directory": str(tmp_path)}, state="running")
    jobs._running.append(job)
    jobs._finish(job, {"state": "failed", "error": {"message": f"{tmp_path} does not exist."}})
    assert "engine's machine, this one has it" in job.error


def test_a_clip_in_a_folder_that_is_not_shared(far, scene, video, tmp_path, monkeypatch):
    far((str(video.parent), str(tmp_path / "there")))
    monkeypatch.setattr(
        session, "local_path", lambda path: Path(str(path).replace(str(tmp_path / "there"), "/mnt/other"))
    )
    with pytest.raises(RuntimeError, match="which this one cannot see as /mnt/other"):
        bpy.ops.blendsplat.import_video()
    job = jobs.latest("import")
    assert job.state == "failed" and "Shared Folders" in job.error and "scp" in job.error


def test_a_video_that_is_not_on_this_computer(far, scene, tmp_path):
    far()
    scene.blendsplat.video = str(tmp_path / "absent.mp4")
    assert import_video.ImportVideo.reason(bpy.context).endswith("absent.mp4 on this computer.")


# --- logs


def test_two_engines_do_not_write_into_one_log(far, tmp_path):
    far()
    session.start(patient=False)
    session.link.wait_ready(20)
    first = session.log_path()
    session.stop()
    session.start(patient=False)
    session.link.wait_ready(20)
    second = session.log_path()
    assert first != second and str(os.getpid()) in first.name
    assert b"\0" not in first.read_bytes() + second.read_bytes()
    assert "Welcome to gpu-box" in second.read_text()


def test_a_log_that_cannot_be_written_is_not_the_commands_fault(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(LinkError, match=r"log .* cannot be written: "):
        Link().start([sys.executable], tmp_path / "file" / "engine.log")


def test_a_log_is_not_emptied_under_a_writer(tmp_path):
    """Another engine may still write into a file of this name; emptying it left NULs."""
    path = tmp_path / "a.log"
    code = "import sys, time; sys.stderr.write('x' * 100); sys.stderr.flush(); sys.stdin.read(); sys.stderr.write('y')"
    first, second = Link(), Link()
    first.start([sys.executable, "-c", code], path)
    end = time.monotonic() + 20
    while (not path.exists() or path.stat().st_size < 100) and time.monotonic() < end:
        time.sleep(0.01)
    process = first._process
    second.start([sys.executable, "-c", code], path)
    first.stop(5)
    process.wait(20)
    second.stop(5)
    assert b"\0" not in path.read_bytes() and path.read_bytes().count(b"y") >= 1


def test_old_logs_go_and_those_of_running_blenders_stay(far, tmp_path):
    far()
    folder = preferences.user_directory() / "logs"
    folder.mkdir(parents=True)
    alive = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        for number in range(9):
            (folder / f"engine-{gone.pid}-{number}.log").write_text("old")
            os.utime(folder / f"engine-{gone.pid}-{number}.log", (number, number))
        (folder / f"engine-{alive.pid}-1.log").write_text("of another Blender")
        os.utime(folder / f"engine-{alive.pid}-1.log", (0, 0))
        (preferences.user_directory() / "engine.log").write_text("of version 0.1.0")
        session.start(patient=False)
        names = {path.name for path in folder.iterdir()}
    finally:
        alive.communicate()
    assert f"engine-{alive.pid}-1.log" in names
    assert {f"engine-{gone.pid}-{number}.log" for number in range(4, 9)} <= names
    assert f"engine-{gone.pid}-3.log" not in names
    assert not (preferences.user_directory() / "engine.log").exists()


# --- a frozen connection


@pytest.fixture
def window(far, monkeypatch, tmp_path):
    """As in a window, with an engine that was frozen after its hello, as a broken network freezes it."""
    monkeypatch.setattr(pump, "synchronous", lambda: False)
    monkeypatch.setattr(bpy.types.Operator, "report", lambda *_: None, raising=False)
    far()
    session.start(patient=False)
    session.link.wait_ready(20)
    synthetic.write_performance(tmp_path / "clip" / "tracking.npz")
    bpy.context.scene.blendsplat.directory = str(tmp_path / "clip")
    process = session.link._process
    os.killpg(process.pid, signal.SIGSTOP)
    yield
    os.killpg(process.pid, signal.SIGKILL)


def test_a_frozen_connection_freezes_nothing(window, monkeypatch):
    begin = time.monotonic()
    assert bpy.ops.blendsplat.add_head() == {"FINISHED"}
    for _ in range(3):
        pump.turn()
    assert time.monotonic() - begin < AT_ONCE and session.errand(track.TOPIC).waiting
    monkeypatch.setattr(engine_link, "HEARTBEAT_SECONDS", 0.1)
    time.sleep(0.4)
    assert session.link.silence > 0.3, "the panel says so"
    begin = time.monotonic()
    assert bpy.ops.blendsplat.engine_stop() == {"FINISHED"}
    pump.turn()
    assert time.monotonic() - begin < AT_ONCE
    assert session.errand(track.TOPIC).state == "failed" and session.link.silence == 0


def test_a_frozen_connection_is_given_up(window, monkeypatch):
    monkeypatch.setattr(engine_link, "HEARTBEAT_SECONDS", 0.1)
    monkeypatch.setattr(engine_link, "SILENCE_SECONDS", 0.5)
    bpy.ops.blendsplat.add_head()
    end = time.monotonic() + 20
    while session.errand(track.TOPIC).waiting:
        assert time.monotonic() < end
        pump.turn()
        time.sleep(0.02)
    assert "has not answered" in session.errand(track.TOPIC).error


# --- a real one


@pytest.fixture
def sshd(tmp_path):
    """The words that reach a real ssh server on loopback, its port and its known_hosts."""
    server = shutil.which("sshd") or shutil.which("/usr/sbin/sshd")
    if server is None or not shutil.which("ssh-keygen") or not shutil.which("ssh"):
        pytest.skip("there is no sshd on this machine")
    for name in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True)
    shutil.copy(tmp_path / "user_key.pub", tmp_path / "authorized")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {tmp_path}/host_key\nAuthorizedKeysFile {tmp_path}/authorized\n"
        f"PidFile {tmp_path}/pid\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n"
    )
    process = subprocess.Popen(
        [server, "-D", "-e", "-f", str(tmp_path / "sshd_config")], stderr=subprocess.PIPE, text=True
    )
    for line in process.stderr:
        if "listening" in line:
            break
    else:
        pytest.skip("this sshd does not start for tests")
    known = tmp_path / "known_hosts"
    yield (
        f"ssh -F none -p {port} -i {tmp_path}/user_key -o BatchMode=yes -o UserKnownHostsFile={known} "
        f"{getpass.getuser()}@127.0.0.1",
        port, known,
    )  # fmt: skip
    process.terminate()
    process.wait(10)


def test_a_real_ssh_server(scene, sshd, tmp_path, monkeypatch):
    command, port, known = sshd
    prefs = Far(f'{command} {sys.executable} "{FAKE}"')
    monkeypatch.setattr(preferences, "get", lambda: prefs)
    session.start(patient=False)
    with pytest.raises(LinkError, match=r"Host key verification failed.*connect once in a terminal"):
        session.link.wait_ready(20)
    host = (tmp_path / "host_key.pub").read_text().split()
    known.write_text(f"[127.0.0.1]:{port} {host[0]} {host[1]}\n")
    session.start(patient=False)
    session.link.wait_ready(20)
    assert session.link.hello["version"] == "fake"
    session.stop()
    (tmp_path / "authorized").write_text("")
    session.start(patient=False)
    with pytest.raises(LinkError, match=r"Permission denied.*ssh-add"):
        session.link.wait_ready(20)
