"""drover context: several servers by name, and where their tokens go."""
import json
import os
import pty
import subprocess
import time

import pytest
from daemon import eventually
from fake_server import FakeServer
from test_cli import DROVER, daemon  # noqa: F401


@pytest.fixture
def run(tmp_path):
    """run("vm", "list") with an empty home of its own."""

    def go(*args, status=0, stdin=None, **env):
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("DROVER_", "XDG_"))}
        done = subprocess.run([DROVER, *args], capture_output=True, input=stdin, timeout=60, check=False,
                              env={**clean, "HOME": str(tmp_path), **env})
        assert done.returncode == status, (args, done.returncode, done.stdout, done.stderr)
        return done

    return go


def auth(server):
    return [r.headers.get("Authorization") for r in server.requests]


def listing(request):
    request.json({"items": [], "next_cursor": None})


def test_servers_are_added_used_shown_and_forgotten(run, daemon, tmp_path):  # noqa: F811
    secret = daemon.admin_token()
    (tmp_path / "t").write_text(secret + "\n")
    assert b"context use lab" in run("context", "add", "lab", "--url", daemon.url, "--token-file", tmp_path / "t").stderr
    run("context", "add", "sock", "--socket", daemon.socket_path)
    assert json.loads(run("context", "list", "-o", "json").stdout)["items"] == [
        {"name": "lab", "url": daemon.url, "has_token": True, "current": False},
        {"name": "sock", "socket": str(daemon.socket_path), "has_token": False, "current": False},
        {"name": "local", "has_token": False, "current": True}]
    for context in ("lab", "sock"):
        run("vm", "list", "--context", context)
        run("vm", "list", DROVER_CONTEXT=context)
        run("context", "use", context)
        run("vm", "list")
        shown = json.loads(run("context", "show", "-o", "json").stdout)
        assert (shown["name"], shown["chosen_by"]) == (context, "drover context use")
    assert secret.encode() not in run("context", "list").stdout + run("context", "show", "lab").stdout
    run("context", "delete", "sock")
    assert run("context", "list", "-o", "name").stdout.split() == [b"lab", b"local"]
    assert json.loads(run("context", "show", "-o", "json").stdout)["socket"] == "/var/lib/drover/drover.sock"
    run("context", "delete", "sock", status=4)
    run("context", "use", "sock", status=4)
    run("vm", "list", "--context", "sock", status=2)
    file = tmp_path / ".config/drover/contexts"
    assert file.stat().st_mode & 0o777 == 0o600 and file.parent.stat().st_mode & 0o777 == 0o700


def test_a_token_goes_to_its_own_server_only(run):
    with FakeServer(listing) as lab, FakeServer(listing) as other:
        run("context", "add", "lab", "--url", lab.url, "--token-file", "-", "--use", stdin=b"of-lab\n")
        run("context", "add", "open", "--url", other.url)
        run("vm", "list")
        run("vm", "list", DROVER_TOKEN="from-env")
        run("vm", "list", "--token-file", "-", stdin=b"typed\n")
        assert auth(lab) == ["Bearer of-lab", "Bearer of-lab", "Bearer typed"]
        run("vm", "list", "--url", other.url)
        run("vm", "list", "--url", other.url, DROVER_TOKEN="from-env")
        run("vm", "list", DROVER_URL=other.url)
        run("vm", "list", "--context", "open", DROVER_TOKEN="from-env")
        assert auth(other) == [None, "Bearer from-env", None, None]


def test_a_token_is_not_seen_in_the_list_of_processes(run):
    def slow(request):
        seen.append(next(cmdline for p in os.listdir("/proc") if p.isdigit()
                         for cmdline in [read(p)] if b"\0--token\0" in cmdline and bytes(server.url, "ascii") in cmdline))
        listing(request)

    def read(pid):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                return file.read()
        except OSError:
            return b""

    seen = []
    with FakeServer(slow) as server:
        run("vm", "list", "--url", server.url, "--token", "very-secret")
        assert auth(server) == ["Bearer very-secret"]
    assert seen and b"very-secret" not in seen[0]
    assert b"--token-file" in run("context", "add", "x", "--url", "http://x", "--token", "t", status=2).stderr


def test_on_a_terminal_the_token_is_asked_for_unseen(run, tmp_path):
    pid, fd = pty.fork()
    if pid == 0:
        os.environ.update(HOME=str(tmp_path))
        os.execv(DROVER, [str(DROVER), "context", "add", "lab", "--url", "http://lab"])
    shown = b""
    while b"API token" not in shown:
        shown += os.read(fd, 1000)
    os.write(fd, b"typed-secret\n")
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            piece = os.read(fd, 1000)
        except OSError:
            break
        shown += piece
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(fd)
    assert b"typed-secret" not in shown
    eventually(lambda: b"typed-secret" in (tmp_path / ".config/drover/contexts").read_bytes())


def test_what_is_wrong_is_said_and_nothing_is_written(run, tmp_path):
    for args, status, says in [
            (["add", "lab"], 2, b"--url URL or --socket PATH"), (["add", "lab", "--url", "lab"], 2, b"http://"),
            (["add", "a b", "--url", "http://x"], 2, b"letters"), (["add", "local", "--url", "http://x"], 2, b"always there"),
            (["add", "lab", "--url", "http://x", "--token-file", tmp_path / "none"], 2, b"cannot open"),
            (["add", "lab", "--url", "http://x", "--token-file", "/dev/null"], 2, b"nothing in")]:
        assert says in run("context", *args, status=status).stderr
    assert not (tmp_path / ".config").exists()
    run("context", "add", "lab", "--url", "http://x")
    run("context", "add", "lab", "--url", "http://y", status=5)
    run("context", "add", "lab", "--url", "http://y", "--replace")
    assert b"http://y" in run("context", "show", "lab").stdout
    file = tmp_path / ".config/drover/contexts"
    file.chmod(0o644)
    assert b"chmod 600" in run("vm", "list", "--context", "lab", status=2).stderr
    file.chmod(0o600)
    file.write_text("contexts: {")
    assert b"line 2" in run("vm", "list", status=2).stderr
    assert run("version").stdout
