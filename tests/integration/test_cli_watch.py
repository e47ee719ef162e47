"""drover --watch, progress, colours: what a person at a terminal sees, and a pipe does not."""
import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

import pytest
from daemon import eventually
from fake_server import FakeServer
from test_cli import DROVER, daemon, drover, vm  # noqa: F401


def environment(**more):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("DROVER_") and k not in ("NO_COLOR", "TERM")}
    return {**clean, "TERM": "xterm", "LC_ALL": "C.UTF-8", "HOME": "/nonexistent", **more}


class Watching:
    def __init__(self, *command, **env):
        self.process = subprocess.Popen([DROVER, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
                                        env=environment(**env))
        self.text = b""

    def until(self, text):
        deadline = time.monotonic() + 40
        while text not in self.text:
            ready = select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))[0]
            assert ready, (text, self.text)
            piece = os.read(self.process.stdout.fileno(), 65536)
            assert piece, (self.text, self.process.stderr.read())
            self.text += piece
        before, self.text = self.text.split(text, 1)
        return before

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()


class Terminal:
    """A command on a terminal of 100 columns; its output is read whole."""

    def __init__(self, *command, columns=100, **env):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
            os.execve(DROVER, [str(DROVER), *map(str, command)], environment(**env))
        self.text, self.status = b"", None

    def until(self, text=None):
        """Until the text appears, or the end."""
        deadline = time.monotonic() + 60
        while text is None or text not in self.text:
            assert select.select([self.fd], [], [], max(0, deadline - time.monotonic()))[0], self.text
            try:
                piece = os.read(self.fd, 65536)
            except OSError:
                piece = b""
            if not piece:
                assert text is None, self.text
                break
            self.text += piece
        if text is None:
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            os.close(self.fd)
        return self.text


def run_on_terminal(*command, **env):
    terminal = Terminal(*command, **env)
    terminal.until()
    return terminal


def test_a_list_is_shown_again_when_it_changes_and_only_then(drover, daemon):  # noqa: F811
    with Watching("--socket", daemon.socket_path, "vm", "list", "--watch", "-o", "json") as watching:
        assert json.loads(watching.until(b"\n"))["items"] == []
        drover("token", "create", "unrelated", "--role", "viewer")
        drover("vm", "create", "seen", "--no-vsock")
        assert [v["name"] for v in json.loads(watching.until(b"\n"))["items"]] == ["seen"]
        drover("vm", "start", "seen")
        while json.loads(watching.until(b"\n"))["items"][0]["state"] != "running":
            pass
        drover("vm", "delete", "seen", "--force")
        while json.loads(watching.until(b"\n"))["items"]:
            pass
        assert watching.text == b"" # nothing was printed twice


def test_it_survives_a_restart_of_the_server(drover, daemon, vm):  # noqa: F811
    with Watching("--socket", daemon.socket_path, "vm", "list", "--watch", "-o", "name") as watching:
        watching.until(b"pet\n")
        daemon.restart()
        drover("vm", "create", "later", "--no-vsock")
        try:
            watching.until(b"later\n")
        finally:
            drover("vm", "delete", "later")


def test_nothing_is_asked_while_nothing_happens():
    streams = []

    def answer(request):
        if request.headers.get("Accept") == "text/event-stream":
            stream = request.stream()
            streams.append(stream)
            if len(streams) == 1:
                stream.write(b': hello\n\ndata: {"seq": 6, "type": "image.ready"}\n\ndata: {"seq": 7, "type": "vm.state"}\n\n')
            stream.flush()
            select.select([request.handler.connection], [], [], 30)
        elif request.path.startswith("/v1/events"):
            request.json({"items": [], "last_seq": 5})
        else:
            request.json({"items": [{"name": f"look-{len(streams)}"}], "next_cursor": None})

    with FakeServer(answer) as server, Watching("vm", "list", "--watch", "-o", "name", DROVER_URL=server.url) as watching:
        watching.until(b"look-0\n")
        watching.until(b"\nlook-1\n")
        eventually(lambda: len(streams) == 2, 20)
        assert [r.headers.get("Last-Event-ID") for r in server.requests if "Last-Event-ID" in r.headers] == ["4", "7"]
        assert len(server.requests) == 5 # the log's end; twice: the list, the stream


def test_what_cannot_be_watched_says_so(drover, vm):  # noqa: F811
    assert b"vm list --watch" in drover("vm", "start", vm, "--watch", status=2).stderr
    assert drover("vm", "show", vm, parse=True)["state"] == "stopped"
    drover("vm", "show", "nosuch", "--watch", status=4)
    drover("vm", "list", "--watch", "--url", "http://127.0.0.1:1", status=3, env={"HOME": "/nonexistent"})


def test_on_a_terminal_the_screen_is_drawn_anew(drover, daemon, vm):  # noqa: F811
    terminal = Terminal("--socket", daemon.socket_path, "vm", "list", "--watch")
    terminal.until(b"stopped")
    assert b"\x1b[H\x1b[2J" in terminal.text and b"Ctrl-C ends it" in terminal.text
    drover("vm", "start", vm)
    terminal.until(b"running")
    os.write(terminal.fd, b"\x03")
    terminal.until()
    assert terminal.status == -2


def test_colours_are_for_terminals_that_want_them(drover, daemon, vm):  # noqa: F811
    where = ("--socket", daemon.socket_path)
    assert b"\x1b[2mstopped\x1b[0m" in run_on_terminal(*where, "vm", "list").text
    assert b"\x1b[1mNAME\x1b[0m" in run_on_terminal(*where, "vm", "list").text
    failed = run_on_terminal(*where, "vm", "show", "nosuch")
    assert b"\x1b[31mdrover: \x1b[0m" in failed.text and failed.status == 4
    for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        for words in (["vm", "list"], ["vm", "show", "nosuch"], ["host", "check"]):
            assert b"\x1b" not in run_on_terminal(*where, *words, **env).text
    assert b"\x1b" not in drover("vm", "list").stdout + drover("vm", "show", "nosuch", status=4).stderr
    assert b"\x1b" not in run_on_terminal(*where, "vm", "list", "-o", "json").text


def test_colours_leave_the_columns_alone(drover, daemon, vm):  # noqa: F811
    where = ("--socket", daemon.socket_path)
    eventually(lambda: drover("vm", "show", vm, parse=True)["effective_acceleration"])  # a column of its own
    coloured = run_on_terminal(*where, "vm", "list").text.replace(b"\r\n", b"\n")
    assert re.sub(rb"\x1b\[\d+m", b"", coloured) == run_on_terminal(*where, "vm", "list", NO_COLOR="1").text.replace(b"\r\n", b"\n")


def test_an_upload_shows_a_bar_on_a_terminal_only(drover, daemon, tmp_path):  # noqa: F811
    (tmp_path / "disk").write_bytes(bytes(64 << 20))
    create = ("image", "create", "big", "--format", "raw", "--file", str(tmp_path / "disk"))
    shown = run_on_terminal("--socket", daemon.socket_path, *create)
    assert shown.status == 0 and b"100 %" in shown.text and b"===" in shown.text and b"64.0 MiB" in shown.text
    assert max(len(line) for line in shown.text.replace(b"\r", b"\n").replace(b"\x1b[K", b"").split(b"\n")) < 100
    drover("image", "delete", "big")
    assert drover(*create).stderr == b""
    drover("image", "delete", "big")


def test_a_long_operation_shows_its_stages():
    states = iter([("downloading", 1 << 20, 4 << 20), ("downloading", 4 << 20, 4 << 20), ("converting", 1 << 20, None), None])

    def answer(request):
        if request.path.startswith("/v1/operations/"):
            now = next(states)
            progress = {"stage": now[0], "done_bytes": now[1], "total_bytes": now[2]} if now else None
            request.json({"id": "o", "state": "running" if now else "succeeded", "progress": progress})
        else:
            request.json({"id": "i", "name": "x", "state": "ready", "operation": {"id": "o"}})

    with FakeServer(answer) as server:
        shown = run_on_terminal("image", "import", "x", "http://h/x", "--sha256", "0" * 64, DROVER_URL=server.url)
    assert shown.status == 0, shown.text
    for part in (b"downloading", b" 25 %", b"converting", b"1.0 MiB", b"x ready"):
        assert part in shown.text


def test_who_waits_long_is_told_for_what():
    answers = iter([{"state": "running"}, {"state": "succeeded"}])

    def answer(request):
        request.json({"id": "o", "kind": "vm.shutdown", **(next(answers) if "/operations/" in request.path else {})})

    with FakeServer(answer) as server:
        shown = run_on_terminal("vm", "shutdown", "x", DROVER_URL=server.url)
    assert shown.status == 0 and b"vm.shutdown goes on, at most 120 s" in shown.text
    assert [r.path.split("?")[-1] for r in server.requests[1:]] == ["wait=1", "wait=25"]


@pytest.mark.parametrize("form", ["table", "yaml"])
def test_other_forms_are_separated(drover, daemon, form):  # noqa: F811
    with Watching("--socket", daemon.socket_path, "vm", "list", "--watch", "-o", form) as watching:
        drover("vm", "create", "one", "--no-vsock")
        watching.until(b"one")
        drover("vm", "delete", "one")
        if form == "yaml":
            watching.until(b"---\nitems: []")


def test_top_is_drawn_again_in_the_order_of_a_key(drover, daemon):  # noqa: F811
    for name, memory in (("small", "16"), ("large", "64")):
        drover("vm", "create", name, "--memory", memory, "--no-vsock", "--start", "--wait", "running")
    terminal = Terminal("--socket", daemon.socket_path, "top", "--delay", "1")
    try:
        terminal.until(b"large")
        for key, above, below in ((b"p", b"large", b"small"), (b"n", b"large", b"small"), (b"m", b"large", b"small")):
            terminal.text = b""
            os.write(terminal.fd, key)
            order = b"by " + {b"p": b"promised", b"n": b"name", b"m": b"memory"}[key]
            terminal.until(order)
            terminal.text = terminal.text.split(order, 1)[1]  # the rest of that screen may have come with it
            text = terminal.until(b"small")
            assert text.index(above) < text.index(below), text
        os.write(terminal.fd, b"q")
        terminal.until()
        assert terminal.status == 0
    finally:
        for name in ("small", "large"):
            drover("vm", "delete", name, "--force")
