"""drover-ksm-helper as a program: what it does not begin with, and whom it does not serve."""
import os
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest
from daemon import BUILD, eventually

NOBODY = 65534
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")


def begin(*arguments):
    return subprocess.Popen([BUILD / "drover-ksm-helper", *map(str, arguments)], stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("arguments, status, words", [
    (["--nonsense", "x"], 2, "usage: "),
    (["--socket"], 2, "usage: "),
    (["--user", "nobody-of-that-name", "--socket", "x"], 2, "usage: "),
    ([], 2, "usage: "),
    (["--socket", "/nonexistent/helper.sock"], 1, "cannot listen: "),
    (["--socket", "/tmp/" + 200 * "x"], 1, "cannot listen: "),
    (["--root", "/nonexistent", "--socket", "{tmp}/helper.sock"], 1, "cannot listen: "),
])
def test_what_it_does_not_begin_with(tmp_path, arguments, status, words):
    process = begin(*(a.format(tmp=tmp_path) for a in arguments))
    _, said = process.communicate(timeout=60)
    assert process.returncode == status and words in said, said


def ask(path, user):
    """What it answers to somebody; b"" when it hangs up."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if not pid:
        try:
            os.setuid(user)
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link:
                link.settimeout(30)
                link.connect(str(path))
                try:
                    link.send(b"get run")
                    theirs.send(b"told " + link.recv(100))
                except (BrokenPipeError, ConnectionResetError):
                    theirs.send(b"told ")
        finally:
            os._exit(0)
    theirs.close()
    os.waitpid(pid, 0)
    with ours:
        return ours.recv(100)


@pytest.fixture
def open_path():
    """A directory that everybody may pass."""
    with tempfile.TemporaryDirectory(prefix="drover-helper-") as path:
        os.chmod(path, 0o755)
        yield Path(path)


def test_only_its_daemon_and_root_are_served(open_path):
    path = open_path / "helper.sock"
    process = begin("--socket", path, "--user", NOBODY, "--root", open_path)
    try:
        eventually(path.exists, 30, "its socket")
        os.chmod(path, 0o666)  # what is tested is its own look at who comes
        assert ask(path, 0) == b"told -22"
        assert ask(path, NOBODY) == b"told -22"
        assert ask(path, NOBODY - 1) == b"told "
        assert ask(path, NOBODY) == b"told -22", "it goes on"
    finally:
        process.terminate()
        _, said = process.communicate(timeout=30)
    assert f"refused a connection of user {NOBODY - 1}" in said
