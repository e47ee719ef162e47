"""The drover command against a server that does what a test says: exit codes, resuming, terminals."""

import base64
import contextlib
import hashlib
import json
import os
import pathlib
import pty
import select
import signal
import subprocess
import termios
import time

import pytest

from fake_server import FakeServer

DROVER = pathlib.Path(os.environ.get("DROVER_BUILD", "build")) / "drover"
V1 = "drover.console.v1"

pytestmark = pytest.mark.skipif(not DROVER.exists(), reason=f"{DROVER} is not built")


def environment(server, **more):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("DROVER_")}
    return {**clean, "DROVER_URL": server.url, "DROVER_TOKEN": "drover_secret", "LC_ALL": "C.UTF-8", **more}


def drover(server, *args, stdin=b"", timeout=60):
    return subprocess.run([DROVER, *args], input=stdin, capture_output=True, timeout=timeout,
                          env=environment(server), check=False)


@pytest.mark.parametrize("status, code, expected", [
    (400, "invalid-argument", 1), (401, "unauthenticated", 6), (403, "forbidden", 6), (404, "vm-not-found", 4),
    (409, "name-in-use", 5), (412, "precondition-failed", 5), (422, "validation-failed", 1),
    (503, "hypervisor-unavailable", 1), (504, "timeout", 7)])
def test_a_problem_decides_the_exit_status_and_is_told_in_full(status, code, expected):
    with FakeServer(lambda r: r.problem(status, code, remedy="turn it off and on", pointer="/name")) as server:
        done = drover(server, "vm", "show", "x")
    assert done.returncode == expected
    assert done.stdout == b""
    text = done.stderr.decode()
    for part in (f"Title of {code}", f"detail of {code}", "turn it off and on", "/name", "req-1"):
        assert part in text


def test_a_failure_without_a_problem_document_still_has_a_status():
    with FakeServer(lambda r: r.json("gone", 404)) as server:
        done = drover(server, "vm", "show", "x")
    assert done.returncode == 4 and b"status 404" in done.stderr


def test_control_characters_of_a_problem_do_not_reach_the_terminal():
    with FakeServer(lambda r: r.problem(404, "vm-not-found", detail="\x1b[2Jgone\x9b")) as server:
        done = drover(server, "vm", "show", "x")
    assert b"\x1b" not in done.stderr and b"\xc2\x9b" not in done.stderr and b"[2Jgone" in done.stderr


def test_nobody_there_is_status_3(tmp_path):
    env = {"PATH": os.environ["PATH"]}
    tcp = subprocess.run([DROVER, "--url", "http://127.0.0.1:1", "vm", "list"], env=env, capture_output=True, check=False)
    unix = subprocess.run([DROVER, "vm", "list"], env={**env, "DROVER_STATE_DIR": str(tmp_path)}, capture_output=True,
                          check=False)
    assert (tcp.returncode, unix.returncode) == (3, 3)
    assert str(tmp_path / "drover.sock").encode() in unix.stderr


def test_a_list_is_read_to_its_last_page():
    def answer(r):
        last = "cursor=n%2B2" in r.path
        r.json({"items": [{"name": "b" if last else "a", "state": "running"}], "next_cursor": None if last else "n+2"})

    with FakeServer(answer) as server:
        done = drover(server, "vm", "list", "--label", "ci.job=1 2", "--json")
    assert [vm["name"] for vm in json.loads(done.stdout)["items"]] == ["a", "b"]
    assert len(server.requests) == 2
    assert all("label=ci.job%3D1%202" in r.path for r in server.requests)
    assert server.requests[0].headers["Authorization"] == "Bearer drover_secret"


def test_a_list_that_never_ends_is_refused():
    with FakeServer(lambda r: r.json({"items": [], "next_cursor": "again"})) as server:
        done = drover(server, "vm", "list")
    assert done.returncode == 1 and b"does not end" in done.stderr


def operation(state, **more):
    return {"id": "op-1", "kind": "vm.start", "state": state, "vm_id": "v", "error": None, **more}


def test_a_verb_waits_until_its_operation_is_finished():
    states = iter(["running", "running", "succeeded"])

    def answer(r):
        r.json(operation("pending") if r.method == "POST" else operation(next(states)), 202 if r.method == "POST" else 200)

    with FakeServer(answer) as server:
        done = drover(server, "vm", "start", "web/1")
    assert done.returncode == 0, done.stderr
    assert [r.path.split("?")[0] for r in server.requests] == ["/v1/vms/web%2F1/start"] + ["/v1/operations/op-1"] * 3


def test_a_failed_operation_fails_the_verb_with_its_problem():
    problem = {"title": "No", "status": 409, "code": "vm-state-conflict", "detail": "because"}

    def answer(r):
        r.json(operation("pending") if r.method == "POST" else operation("failed", error=problem))

    with FakeServer(answer) as server:
        done = drover(server, "vm", "start", "x")
    assert done.returncode == 5 and b"because" in done.stderr


def test_an_operation_that_takes_too_long_is_status_7():
    with FakeServer(lambda r: r.json(operation("running"))) as server:
        done = drover(server, "op", "wait", "op-1", "--timeout", "0")
    assert done.returncode == 7 and b"drover op wait op-1" in done.stderr


def test_an_upload_sends_the_bytes_their_length_and_their_digest(tmp_path):
    content = os.urandom(300_000)
    (tmp_path / "disk").write_bytes(content)
    with FakeServer(lambda r: r.json({"name": "i", "state": "ready"})) as server:
        done = drover(server, "image", "upload", "i", str(tmp_path / "disk"))
        piped = drover(server, "image", "upload", "i", "-", "--part", "kernel", stdin=content)
    assert (done.returncode, piped.returncode) == (0, 0), done.stderr + piped.stderr
    first, second = server.requests
    assert first.method == "PUT" and first.path == "/v1/images/i/content" and first.body == content
    assert first.headers["Content-Length"] == "300000"
    assert first.headers["Content-Digest"] == f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"
    assert second.path == "/v1/images/i/content/kernel" and second.body == content


def test_a_secret_is_printed_alone_on_standard_output():
    with FakeServer(lambda r: r.json({"id": "t1", "token": "drover_abc"}, 201)) as server:
        done = drover(server, "token", "create", "ci", "--role", "viewer", "--expires", "12h")
    assert done.stdout == b"drover_abc\n"
    assert json.loads(server.requests[0].body) == {"name": "ci", "role": "viewer", "expires_in_seconds": 43200}


def test_following_events_resumes_after_the_last_one_seen():
    def event(seq):
        return f'id: {seq}\ndata: {{"seq":{seq},"type":"vm.state","subject":{{"name":"x"}},"data":{{}}}}\n\n'.encode()

    def answer(r):
        last = r.headers.get("Last-Event-ID")
        out = r.stream()
        out.write(b": hi\n\n" + (event(7) + event(8) if last is None else event(int(last) + 1)))
        if last is not None:
            out.flush()
            while len(server.requests) < 3 and out.write(b": keep-alive\n\n"): # until the reader has gone
                out.flush()
                select.select([], [], [], 0.05)

    with FakeServer(answer) as server:
        with subprocess.Popen([DROVER, "events", "--follow", "--json"], env=environment(server), stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL) as process:
            lines = [json.loads(process.stdout.readline()) for _ in range(3)]
            process.terminate()
    assert [e["seq"] for e in lines] == [7, 8, 9]
    assert server.requests[1].headers["Last-Event-ID"] == "8"


# ---- console ----


def test_console_prints_what_comes_and_ends_with_the_server():
    def answer(r):
        ws = r.upgrade(V1)
        ws.control(type="hello", offset=0, oldest=0, viewers=1, mode="control")
        ws.send(b"login: ")
        ws.close(1000, b"stopped")

    with FakeServer(answer) as server:
        done = drover(server, "console", "x")
    assert (done.returncode, done.stdout) == (0, b"login: ")
    assert server.requests[0].path == "/v1/vms/x/console?mode=control"
    assert server.requests[0].headers["Authorization"] == "Bearer drover_secret"


def test_a_server_below_a_path_is_reached():
    def answer(r):
        if r.headers.get("Upgrade"):
            r.upgrade(V1).close(1000)
        else:
            r.json({"items": [], "next_cursor": None})

    with FakeServer(answer) as server:
        drover(server, "--url", server.url + "/behind/proxy/", "vm", "list")
        drover(server, "--url", server.url + "/behind/proxy/", "console", "x")
    assert [r.path.split("?")[0] for r in server.requests] == ["/behind/proxy/v1/vms", "/behind/proxy/v1/vms/x/console"]


def test_console_works_with_a_server_that_only_speaks_raw():
    def answer(r):
        ws = r.upgrade()
        ws.send(b'{"type":"hello"}', 1) # a text frame is output here
        ws.close(1000)

    with FakeServer(answer) as server:
        assert drover(server, "console", "x").stdout == b'{"type":"hello"}'


def test_console_sends_input_and_leaves_when_the_text_appears():
    def answer(r):
        ws = r.upgrade(V1)
        ws.control(type="hello", offset=0, oldest=0, viewers=1, mode="control")
        opcode, data = ws.receive()
        assert opcode == 2
        for byte in b"echo " + data + b"done":
            ws.send(bytes([byte]))
        ws.receive()

    with FakeServer(answer) as server:
        done = drover(server, "console", "x", "--until", "done", "--timeout", "40", stdin=b"uname\n")
    assert (done.returncode, done.stdout) == (0, b"echo uname\ndone")


def test_console_without_the_text_in_time_is_status_7():
    with FakeServer(lambda r: r.upgrade(V1).receive()) as server:
        started = time.monotonic()
        done = drover(server, "console", "x", "--until", "never", "--timeout", "1")
    assert done.returncode == 7 and time.monotonic() - started < 20


def test_console_resumes_at_the_byte_where_it_broke_off():
    def answer(r):
        ws = r.upgrade(V1)
        if "from" not in r.path:
            ws.control(type="hello", offset=100, oldest=100, viewers=1, mode="control")
            ws.send(b"abc")
            return # no close frame: the connection just ends
        ws.control(type="hello", offset=103, oldest=100, viewers=1, mode="control")
        ws.send(b"def")
        ws.close(1000)

    with FakeServer(answer) as server:
        done = drover(server, "console", "x")
    assert (done.returncode, done.stdout) == (0, b"abcdef"), done.stderr
    assert server.requests[1].path.endswith("from=103")


def test_rest_and_console_work_over_the_unix_socket(tmp_path):
    def answer(r):
        if r.headers.get("Upgrade"):
            ws = r.upgrade(V1)
            ws.send(b"hello")
            ws.close(1000)
        else:
            r.json({"items": [], "next_cursor": None})

    with FakeServer(answer, tmp_path / "drover.sock") as server:
        env = {"PATH": os.environ["PATH"], "DROVER_STATE_DIR": str(tmp_path)}
        listed = subprocess.run([DROVER, "vm", "list", "--json"], env=env, capture_output=True, check=True, timeout=30)
        typed = subprocess.run([DROVER, "console", "x"], env=env, capture_output=True, timeout=30, stdin=subprocess.DEVNULL,
                               check=False)
    assert json.loads(listed.stdout)["items"] == []
    assert (typed.returncode, typed.stdout) == (0, b"hello"), typed.stderr
    assert [r.headers["Host"] for r in server.requests] == ["localhost", "localhost"]
    assert "Authorization" not in server.requests[1].headers


def test_console_says_why_the_server_refused():
    with FakeServer(lambda r: r.problem(409, "stream-unavailable")) as server:
        done = drover(server, "console", "x")
    assert done.returncode == 5 and b"detail of stream-unavailable" in done.stderr


def test_console_closed_for_a_reason_tells_it():
    with FakeServer(lambda r: r.upgrade(V1).close(1008, b"the token was revoked")) as server:
        done = drover(server, "console", "x")
    assert done.returncode == 6 and b"the token was revoked" in done.stderr


def read_until(fd, text, deadline_s=40):
    seen, until = b"", time.monotonic() + deadline_s
    while text not in seen:
        ready, _, _ = select.select([fd], [], [], max(0, until - time.monotonic()))
        assert ready, f"{text} did not come; seen: {seen}"
        seen += os.read(fd, 1)  # what comes after it is somebody else's
    return seen


@contextlib.contextmanager
def on_a_terminal(server, *args):
    """The command on a new terminal; yields (process, master, attributes as they were)."""
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    # Under nohup the tests themselves ignore SIGHUP, and what they start would inherit that.
    process = subprocess.Popen([DROVER, *args], env=environment(server), stdin=slave, stdout=slave, stderr=slave,
                               preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL))
    try:
        yield process, master, slave, before
    finally:
        process.kill()
        process.wait()
        os.close(master)
        os.close(slave)


def shell(r):
    ws = r.upgrade(V1)
    ws.control(type="hello", offset=0, oldest=0, viewers=1, mode="control")
    ws.send(b"ready> ")
    while True:
        opcode, data = ws.receive()
        if opcode == 8:
            return
        ws.send(b"[" + data.hex().encode() + b"]")


def test_on_a_terminal_every_key_but_one_goes_to_the_guest_and_it_is_restored():
    with FakeServer(shell) as server, on_a_terminal(server, "console", "x") as (process, master, slave, before):
        read_until(master, b"ready> ")
        assert not termios.tcgetattr(slave)[3] & (termios.ICANON | termios.ECHO | termios.ISIG)
        os.write(master, b"\x03")
        read_until(master, b"[03]")
        os.write(master, b"a\x1d")
        read_until(master, b"Left the console")
        assert process.wait(30) == 0
        assert termios.tcgetattr(slave) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGSEGV])
def test_a_signal_leaves_the_terminal_as_it_was(number):
    with FakeServer(shell) as server, on_a_terminal(server, "console", "x") as (process, master, slave, before):
        read_until(master, b"ready> ")
        process.send_signal(number)
        assert process.wait(30) == -number
        assert termios.tcgetattr(slave) == before


def test_the_terminal_is_restored_when_the_server_refuses():
    with FakeServer(lambda r: r.problem(404, "vm-not-found")) as server, \
            on_a_terminal(server, "console", "x") as (process, master, slave, before):
        read_until(master, b"detail of vm-not-found")
        assert process.wait(30) == 4
        assert termios.tcgetattr(slave) == before


def test_another_escape_key_can_be_chosen():
    with FakeServer(shell) as server, on_a_terminal(server, "console", "x", "--escape", "^A") as (process, master, _, _b):
        read_until(master, b"ready> ")
        os.write(master, b"\x1d")
        read_until(master, b"[1d]")
        os.write(master, b"\x01")
        assert process.wait(30) == 0


# ---- who types ----


def held_by_another(r):
    """A console that v2 holds; says what control frames come, and hands over when asked for it twice."""
    ws = r.upgrade(V1)
    ws.control(type="hello", id="v1", offset=0, oldest=0, viewers=2, mode="control", holder="v2", exclusive=False)
    ws.control(type="viewers", count=2, viewers=[{"id": "v1", "name": "me", "mode": "control"},
                                                 {"id": "v2", "name": "anna\x1b[2J", "mode": "control"}])
    ws.send(b"ready> ")
    while True:
        opcode, data = ws.receive()
        if opcode == 8:
            return
        if opcode == 2:
            ws.send(b"[" + data.hex().encode() + b"]")
            ws.control(type="error", code="not-holder", detail="anna holds the console")
            continue
        frame = json.loads(data)
        ws.send(b"<" + frame["type"].encode() + b">")
        if frame["type"] == "take-control":
            ws.control(type="control", holder="v1", exclusive=frame.get("exclusive", False), requests=["v2"])
        if frame["type"] == "grant-control":
            ws.control(type="control", holder=frame["to"], exclusive=False, requests=[])


def test_the_keyboard_changes_hands():
    with FakeServer(held_by_another) as server, on_a_terminal(server, "console", "x") as (process, master, _, _b):
        read_until(master, b"ready> ")
        os.write(master, b"k")
        read_until(master, b"anna?[2J holds the console; ^^ r asks for it, ^^ t takes it")
        os.write(master, b"\x1er")
        read_until(master, b"<request-control>")
        os.write(master, b"\x1ew")
        read_until(master, b"me (you), may type")
        os.write(master, b"\x1ex")
        read_until(master, b"<take-control>")
        read_until(master, b"anna?[2J asks for the console; ^^ g grants it")
        os.write(master, b"\x1eg")
        read_until(master, b"<grant-control>")
        os.write(master, b"\x1el")
        read_until(master, b"<release-control>")
        os.write(master, b"\x1e?")
        read_until(master, b"twice sends it")
        os.write(master, b"a\x1e\x1eb")
        read_until(master, b"[611e62]")
        os.write(master, b"\x1d")
        assert process.wait(30) == 0


def test_what_is_piped_is_sent_as_it_is():
    with FakeServer(held_by_another) as server:
        done = drover(server, "console", "x", "--until", "[1e72]", "--timeout", "40", stdin=b"\x1er")
    assert done.returncode == 0 and b"holds" not in done.stderr


# ---- vsock ----


def test_vsock_passes_the_end_of_input_on():
    def answer(r):
        ws = r.upgrade(V1)
        ws.control(type="hello", id="v1", mode="control")
        got = b""
        while True:
            opcode, data = ws.receive()
            if opcode == 1:
                assert json.loads(data) == {"type": "eof"}
                break
            got += data
        ws.send(b"heard " + got)
        ws.control(type="eof")
        ws.close(1000)

    with FakeServer(answer) as server:
        done = drover(server, "vsock", "x", "22", stdin=b"everything")
    assert (done.returncode, done.stdout) == (0, b"heard everything")
    assert server.requests[0].path == "/v1/vms/x/vsock/22"


def test_vsock_says_why_not():
    with FakeServer(lambda r: r.problem(409, "stream-unavailable")) as server:
        done = drover(server, "vsock", "x", "22", stdin=b"")
    assert done.returncode == 5 and b"detail of stream-unavailable" in done.stderr
