"""Guest agents that lie, flood, or say nothing: each costs the operation that asked, and nothing else.

The VM is a boot sector without any agent; the test connects to the daemon's socket in its place, which the
daemon, seeing the newest connection, takes for QEMU coming back. QEMU itself does not find the way back."""
import base64
import hashlib
import json
import re
import socket
import threading
import time

import pytest

from rig import eventually, resident_bytes

STREAM = b"channels/org.qemu.guest_agent.0"
PROMPTLY = 30  # seconds: for what has a deadline of two


@pytest.fixture(scope="module")
def rig(capabilities):
    from rig import Rig
    with Rig(keep=capabilities, settings={"agent_timeout_seconds": 2}) as r:
        yield r


@pytest.fixture(scope="module")
def guest(rig):
    return rig.create("hello", name="liar", wait="running")["id"]


class Agent:
    """Answers with what `reply` makes of each command: bytes, an object, or None for nothing."""

    def __init__(self, rig, vm, reply):
        self.reply, self.commands, self.closed = reply, [], False
        path = rig.state_dir / "vms" / vm / (hashlib.sha256(STREAM).hexdigest()[:16] + ".sock")
        if path.exists():
            path.rename(path.with_suffix(".moved"))
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path.with_suffix(".moved")))
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        try:
            for line in self.socket.makefile("rb"):
                command = json.loads(line.lstrip(b"\xff"))
                self.commands.append(command["execute"])
                if command["execute"] == "guest-sync-delimited":
                    answer = self.sync(command["arguments"]["id"])
                else:
                    answer = self.answer(command)
                self.send(answer)
        except (OSError, ValueError):
            pass

    def answer(self, command):
        """The daemon asks for figures by itself, whenever it likes."""
        try:
            return self.reply(command)
        except KeyError:
            return {"error": {"class": "CommandNotFound", "desc": f"{command['execute']} is not here"}}

    def sync(self, number):
        return b"\xff" + json.dumps({"return": number}).encode() + b"\n"

    def send(self, answer):
        if callable(answer):
            answer(self.socket)
        elif answer is not None:
            self.socket.sendall(answer if isinstance(answer, bytes) else json.dumps(answer).encode() + b"\n")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join(10)


def ret(value):
    return {"return": value}


def execute(rig, guest):
    begun = time.monotonic()
    answer = rig.api.post(f"/v1/vms/{guest}/exec", {"argv": ["true"], "timeout_seconds": 1}, patience=90)
    assert time.monotonic() - begun < PROMPTLY
    return answer


def honest(rig, guest):
    """A well-behaved one afterwards finds everything in order."""
    def reply(command):
        if command["execute"] == "guest-exec":
            return ret({"pid": 7})
        return ret({"exited": True, "exitcode": 0, "out-data": base64.b64encode(b"fine").decode()})

    with Agent(rig, guest, reply):
        answer = execute(rig, guest)
        assert answer.status == 200 and answer.json["stdout"] == "fine", answer


def flood(piece, times):
    def send(sock):
        sock.settimeout(20)
        for _ in range(times):
            sock.sendall(piece)
    return send


LIES = {
    "silence": lambda c: None,
    "nonsense": lambda c: b"nonsense\n",
    "empty lines": lambda c: b"\n",
    "binary": lambda c: b"\x00\x01\x02\n",
    "not utf-8": lambda c: b'{"return": "\xc3\x28"}\n',
    "a nul": lambda c: b'{"return": {"pid": "\\u0000"}}\n',
    "depth": lambda c: b'{"return": ' + b"[" * 100000 + b"]" * 100000 + b"}\n",
    "width": lambda c: b'{"return": [' + b"0," * 200000 + b"0]}\n",
    "twice": lambda c: b'{"return": {"pid": 1}, "return": {"pid": 2}}\n',
    "no return": lambda c: {"result": 1},
    "a string": lambda c: ret("pid"),
    "no pid": lambda c: ret({}),
    "pid 0": lambda c: ret({"pid": 0}),
    "negative pid": lambda c: ret({"pid": -1}),
    "huge pid": lambda c: b'{"return": {"pid": 1e300}}\n',
    "long pid": lambda c: b'{"return": {"pid": ' + b"9" * 100000 + b"}}\n",
    "a strange error": lambda c: {"error": []},
    "a rude error": lambda c: {"error": {"class": "x", "desc": "\u001b]0;owned\u0007\n<3>root: " + "x" * 100000}},
    "no end of a line": lambda c: flood(b"x" * 65536, 200),
    "no end of a string": lambda c: flood(b'"' + b"x" * 65536, 2500),
    "many lines": lambda c: flood(b"{}\n" * 10000, 100),
    "many marks": lambda c: flood(b"\xff" * 65536, 100),
}


@pytest.mark.parametrize("lie", LIES, ids=[name.replace(" ", "-") for name in LIES])
def test_a_lie_costs_one_request(rig, guest, lie):
    with Agent(rig, guest, LIES[lie]):
        answer = execute(rig, guest)
        assert answer.status in (409, 502, 504), (lie, answer)
        assert answer.code in ("agent-failed", "agent-unavailable", "timeout", "vm-state-conflict")
        assert not re.search(r"\\u00[01]", answer.text), answer
        assert rig.api.get("/livez").status == 200 and rig.vm(guest)["state"] == "running"
    honest(rig, guest)


STATUSES = {
    "never exits": ret({"exited": False}),
    "exits somehow": ret({"exited": "yes"}),
    "no base64": ret({"exited": True, "exitcode": 0, "out-data": "%%%"}),
    "a number for output": ret({"exited": True, "exitcode": 0, "out-data": 7}),
    "a code like a word": ret({"exited": True, "exitcode": "0"}),
    "signal 4711": ret({"exited": True, "signal": 4711}),
}


@pytest.mark.parametrize("status", STATUSES, ids=[name.replace(" ", "-") for name in STATUSES])
def test_lies_about_an_end(rig, guest, status):
    def reply(command):
        return ret({"pid": 7}) if command["execute"] == "guest-exec" else STATUSES[status]

    with Agent(rig, guest, reply):
        answer = execute(rig, guest)
        assert answer.status in (502, 504), answer
    honest(rig, guest)


def test_an_answer_that_comes_too_late_is_nobodys(rig, guest):
    pids, given_up = iter(range(1, 100)), threading.Event()

    def reply(command):
        if command["execute"] == "guest-exec":
            if next(pids) == 1:
                given_up.wait(60)
                return ret({"pid": 666})
            return ret({"pid": 7})
        assert command["arguments"]["pid"] == 7, command
        return ret({"exited": True, "exitcode": 0, "out-data": "b2s="})

    with Agent(rig, guest, reply):
        assert execute(rig, guest).status == 504
        given_up.set()
        answer = eventually(lambda: a if (a := execute(rig, guest)).status == 200 else None, 60, "the next one")
        assert answer.json["stdout"] == "ok"


def test_what_nobody_asked_for_is_thrown_away(rig, guest):
    def reply(command):
        if command["execute"] == "guest-exec":
            return json.dumps(ret({"pid": 7})).encode() + b"\n" + json.dumps(ret({"exited": False})).encode() * 9 + b"\n"
        return ret({"exited": True, "exitcode": 0})

    with Agent(rig, guest, reply) as agent:
        agent.socket.sendall(b'{"return": {"pid": 1}}\n' * 1000)
        assert execute(rig, guest).status == 200
        assert agent.commands.count("guest-sync-delimited") >= 1


def test_a_file_that_is_not_what_it_says(rig, guest):
    for piece in ({"count": 5, "buf-b64": "b2s=", "eof": False}, {"count": -1, "buf-b64": "", "eof": True},
                  {"count": 0, "buf-b64": "", "eof": False}, {"count": 1 << 40, "buf-b64": "AA==", "eof": False},
                  {"count": 300000, "buf-b64": base64.b64encode(b"x" * 300000).decode(), "eof": False}, [], "x", None):
        def reply(command, piece=piece):
            return ret({"guest-file-open": 1000, "guest-file-read": piece, "guest-file-close": {}}[command["execute"]])

        with Agent(rig, guest, reply):
            answer = rig.api.get(f"/v1/vms/{guest}/files?path=/x", patience=60)
            assert answer.status == 502, (piece, answer)


def test_a_file_that_breaks_off_does_not_look_whole(rig, guest):
    import http.client
    pieces = iter([b"first", b"second"])

    def reply(command):
        if command["execute"] == "guest-file-read":
            piece = next(pieces, None)
            return ret({"count": len(piece), "buf-b64": base64.b64encode(piece).decode(), "eof": False}) if piece \
                else {"error": {"class": "GenericError", "desc": "I/O error"}}
        return ret(1000 if command["execute"] == "guest-file-open" else {})

    with Agent(rig, guest, reply), pytest.raises((http.client.IncompleteRead, ConnectionError)):
        rig.api.get(f"/v1/vms/{guest}/files?path=/x", patience=60)


def test_a_file_without_end_takes_no_memory(rig, guest):
    data = base64.b64encode(b"x" * 196608).decode()

    def reply(command):
        return ret({"guest-file-open": 1, "guest-file-read": {"count": 196608, "buf-b64": data, "eof": False},
                    "guest-file-close": {}}[command["execute"]])

    with Agent(rig, guest, reply) as agent:
        connection = rig.api.connection(60)
        before = resident_bytes(rig.process.pid)
        connection.request("GET", f"/v1/vms/{guest}/files?path=/dev/zero", headers=rig.api.all_headers())
        answer = connection.getresponse()
        for _ in range(100):
            assert answer.read(1 << 20)
        grown = resident_bytes(rig.process.pid) - before
        connection.close()
        assert grown < 16 << 20, f"{grown >> 20} MiB more for 100 MiB"
        eventually(lambda: "guest-file-close" in agent.commands, 30, "the file is closed")


def test_facts_are_made_harmless(rig, guest):
    evil = "\u001b[31m<script>alert(1)</script>\n" * 100
    facts = {
        "guest-info": {"version": evil}, "guest-get-host-name": {"host-name": evil},
        "guest-get-osinfo": {"pretty-name": evil, "id": 7}, "guest-get-users": [{"user": evil, "login-time": -1}] * 1000,
        "guest-get-fsinfo": [{"mountpoint": evil, "type": None, "name": [], "total-bytes": -5}] * 1000,
        "guest-network-get-interfaces": [{"name": evil, "hardware-address": evil, "ip-addresses": [
            {"ip-address": "; reboot"}, {"ip-address": "fe80::1%eth0"}, {"ip-address": "10.0.0.1", "prefix": -1}] * 10}] * 100,
    }
    with Agent(rig, guest, lambda c: ret(facts[c["execute"]])):
        answer = rig.api.get(f"/v1/vms/{guest}/agent", patience=60)
        assert answer.status == 200 and answer.json["state"] == "ready", answer
        assert len(answer.body) < 300000 and "\\u001b" not in answer.text
        assert len(answer.json["users"]) == 64 and len(answer.json["interfaces"]) == 32
        assert {a["address"] for n in answer.json["interfaces"] for a in n["addresses"]} == {"10.0.0.1"}


def test_an_agent_that_went_silent_is_degraded(rig, guest):
    talks = [True]
    with Agent(rig, guest, lambda c: ret({}) if talks[0] else None) as agent:
        assert rig.api.get(f"/v1/vms/{guest}/agent", patience=60).json["state"] == "ready"
        talks[0] = False
        agent.sync = lambda number: None
        told = eventually(lambda: a if (a := rig.api.get(f"/v1/vms/{guest}/agent", patience=60).json)["state"] != "ready"
                          else None, 30, "degraded")
        assert told["state"] == "degraded" and told["reason"] and told["last_contact_at"]


def test_silent_guests_hold_up_nobody(rig, guest):
    """As many at once as one VM may have, and one more; the rest of the API does not notice."""
    answers = []
    with Agent(rig, guest, lambda c: None) as agent:
        agent.sync = lambda number: None
        threads = [threading.Thread(target=lambda: answers.append(execute(rig, guest))) for _ in range(12)]
        for t in threads:
            t.start()
        for _ in range(20):
            begun = time.monotonic()
            assert rig.api.get("/v1/operations", limit=1).status == 200  # a route that needs a worker
            assert time.monotonic() - begun < 2
        for t in threads:
            t.join()
    assert len(answers) == 12 and all(a.status in (409, 429, 504) for a in answers), answers
    assert any(a.status == 429 for a in answers)
    honest(rig, guest)


def test_a_vm_that_is_stopped_ends_the_question(rig):
    vm = rig.create("hello", wait="running")["id"]
    answers = []

    def reply(command):
        return ret({"pid": 7}) if command["execute"] == "guest-exec" else ret({"exited": False})

    with Agent(rig, vm, reply) as agent:
        thread = threading.Thread(target=lambda: answers.append(
            rig.api.post(f"/v1/vms/{vm}/exec", {"argv": ["sleep"], "timeout_seconds": 600}, patience=60)))
        thread.start()
        eventually(lambda: "guest-exec-status" in agent.commands, 30, "it is asked")
        rig.act(vm, "stop")
        thread.join(30)
    assert answers and answers[0].status in (409, 502), answers


def test_the_daemon_stops_while_guests_are_asked(capabilities, fresh_rig):
    rig = fresh_rig(settings={"agent_timeout_seconds": 300})
    vm = rig.create("hello", wait="running")["id"]
    answers = []

    def ask():
        try:
            answers.append(rig.api.post(f"/v1/vms/{vm}/exec", {"argv": ["x"]}, patience=60).status)
        except OSError:
            answers.append(None)

    with Agent(rig, vm, lambda c: None) as agent:
        thread = threading.Thread(target=ask)
        thread.start()
        eventually(lambda: "guest-exec" in agent.commands, 30, "it is asked")
        begun = time.monotonic()
        rig.stop()
        assert time.monotonic() - begun < 20
        thread.join(30)
    assert answers and answers[0] in (503, None)
    rig.start()


def test_a_frozen_guest_is_thawed_after_a_crash(rig, fresh_rig):
    own = fresh_rig()
    vm = own.create("hello", wait="running")["id"]
    with Agent(own, vm, lambda c: ret(1)):
        assert own.api.post(f"/v1/vms/{vm}/agent/freeze", {"seconds": 600}).json["filesystems"] == 1
        own.kill9()
    own.start()

    def connect():
        try:
            return Agent(own, vm, lambda c: ret(1))
        except OSError:
            return None

    with eventually(connect, 30, "the daemon listens again") as agent:
        eventually(lambda: "guest-fsfreeze-thaw" in agent.commands, 60, "the thaw")


def test_a_frozen_guest_is_thawed_when_the_daemon_stops(fresh_rig):
    own = fresh_rig()
    vm = own.create("hello", wait="running")["id"]
    with Agent(own, vm, lambda c: ret(1)) as agent:
        assert own.api.post(f"/v1/vms/{vm}/agent/freeze", {"seconds": 600}).status == 200
        own.stop()
        assert agent.commands[-1] == "guest-fsfreeze-thaw"
    own.start()
