"""A program's stream: output as it comes, stdin, resuming without a hole, back-pressure, keys. Debian's
own qemu-ga in the demo image."""
import hashlib
import json
import os
import signal
import subprocess

import pytest

from rig import BUILD, SLOW, Refused, eventually, kill_qemu, resident_bytes

V1 = "drover.exec.v1"


@pytest.fixture(scope="module")
def guest(rig, demo_image):
    return rig.create("demo", name="streams", memory_mib=128, wait="agent")["id"]


def begin(rig, vm, *argv, headers=None, **more):
    return rig.api.post(f"/v1/vms/{vm}/exec", {"argv": list(argv), "stream": True, **more}, headers=headers, patience=SLOW)


def begun(rig, vm, *argv, **more):
    answer = begin(rig, vm, *argv, **more)
    assert answer.status == 201, answer
    assert answer.json["state"] in ("running", "ended") and answer.header("location").endswith(answer.json["id"])
    return answer.json["id"]


def once(rig, vm, *argv):
    answer = rig.api.post(f"/v1/vms/{vm}/exec", {"argv": list(argv)}, patience=SLOW)
    assert answer.status == 200, answer
    return answer.json


class Stream:
    def __init__(self, rig, vm, program, have=None, token="admin", query="", subprotocols=(V1,)):
        mark = f"?from={have[0]},{have[1]}" if have else ""
        self.socket = rig.websocket(f"/v1/vms/{vm}/exec/{program}/stream{mark}{query}", token=token,
                                    subprotocols=subprotocols, timeout=SLOW)
        self.out, self.told, self.open = {1: b"", 2: b""}, [], True
        assert self.receive()
        self.hello = self.told.pop()
        assert self.hello["type"] == "hello" and self.hello["id"] == program

    def receive(self):
        message = self.socket.receive()
        if not message:
            self.open = False
        elif message[0] == 1:
            self.told.append(json.loads(message[1]))
        else:
            self.out[message[1][0]] += message[1][1:]
        return message is not None

    def until(self, condition):
        while not condition(self):
            assert self.receive(), f"closed with {self.socket.close_code}: {self.out} {self.told}"
        return self

    def end(self):
        """The exit frame, after which the socket closes."""
        while self.receive():
            pass
        assert self.socket.close_code == 1000 and self.told[-1]["type"] == "exit", self.told
        return self.told[-1]

    def send(self, **frame):
        self.socket.send(json.dumps(frame))

    def close(self):
        self.socket.socket.close()


def nothing_is_left(rig, vm):
    return eventually(lambda: looks_tidy(rig, vm), SLOW, "an empty table of processes, and no files")


def looks_tidy(rig, vm):
    held = once(rig, vm, "sh", "-c", "cd /run; echo drover-*; cd /tmp; echo drover-*")["stdout"]
    return held == "drover-*\ndrover-*\n" and "umask 077" not in once(rig, vm, "ps")["stdout"]


def test_output_comes_while_the_program_runs(rig, guest):
    program = begun(rig, guest, "sh", "-c", "echo first; echo wrong >&2; read x; echo second $x; exit 3", timeout_seconds=120)
    stream = Stream(rig, guest, program)
    assert stream.socket.subprotocol == V1
    stream.until(lambda s: s.out[1] == b"first\n" and s.out[2] == b"wrong\n")
    assert rig.api.get(f"/v1/vms/{guest}/exec/{program}").json["state"] == "running"
    stream.socket.send(b"go\n")
    ended = stream.end()
    assert stream.out == {1: b"first\nsecond go\n", 2: b"wrong\n"}
    assert (ended["exit_code"], ended["signal"], ended["state"], ended["cut"]) == (3, None, "ended", False)
    assert (ended["stdout"], ended["stderr"]) == (16, 6)
    told = rig.api.get(f"/v1/vms/{guest}/exec/{program}").json
    assert told["state"] == "ended" and told["exit_code"] == 3 and told["stdin_bytes"] == 3
    assert program in [p["id"] for p in rig.api.get(f"/v1/vms/{guest}/exec").json["items"]]
    again = Stream(rig, guest, program)
    again.end()
    assert again.out == stream.out  # what is remembered may be read again
    assert nothing_is_left(rig, guest)


def test_stdin_of_any_size_and_its_end(rig, guest):
    data = os.urandom(300_000)
    program = begun(rig, guest, "sh", "-c", "sha256sum; echo done", timeout_seconds=120)
    stream = Stream(rig, guest, program)
    for at in range(0, len(data), 50_000):
        stream.socket.send(data[at:at + 50_000])
    stream.send(type="eof")
    ended = stream.end()
    assert stream.out[1].decode().split()[0] == hashlib.sha256(data).hexdigest()
    assert ended["exit_code"] == 0 and stream.out[1].endswith(b"done\n")
    assert [t for t in stream.told if t["type"] == "stdin"][-1]["taken"] == len(data)


def test_stdin_in_the_body_is_all_of_it(rig, guest):
    stream = Stream(rig, guest, begun(rig, guest, "cat", stdin="in the body"))
    assert stream.end()["exit_code"] == 0 and stream.out[1] == b"in the body"


def test_a_signal_and_a_program_that_is_not_there(rig, guest):
    assert Stream(rig, guest, begun(rig, guest, "sh", "-c", "kill -TERM $$")).end()["signal"] == 15
    stream = Stream(rig, guest, begun(rig, guest, "/nonexistent"))
    assert stream.end()["exit_code"] == 127 and b"not found" in stream.out[2]


def test_killed_by_its_client_by_the_api_and_by_its_time(rig, guest):
    sleepy = ("sh", "-c", "echo on; sleep 1000")
    stream = Stream(rig, guest, begun(rig, guest, *sleepy, timeout_seconds=600)).until(lambda s: s.out[1])
    stream.send(type="kill")
    ended = stream.end()
    assert ended["signal"] == 9 and not ended["timed_out"]
    program = begun(rig, guest, *sleepy, timeout_seconds=600)
    stream = Stream(rig, guest, program).until(lambda s: s.out[1])
    assert rig.api.delete(f"/v1/vms/{guest}/exec/{program}").status == 202
    assert stream.end()["signal"] == 9
    ended = Stream(rig, guest, begun(rig, guest, *sleepy, timeout_seconds=1)).end()
    assert ended["timed_out"] and ended["signal"] == 9
    eventually(lambda: "sleep 1000" not in once(rig, guest, "ps")["stdout"], SLOW, "the end of what it began")
    assert nothing_is_left(rig, guest)


COUNT = "i=0; while [ $i -lt 60000 ]; do echo line-$i; i=$((i + 1)); done"
LINES = b"".join(b"line-%d\n" % i for i in range(60000))


def test_a_connection_that_breaks_again_and_again_leaves_no_hole(rig, guest):
    program = begun(rig, guest, "sh", "-c", COUNT, timeout_seconds=600)
    have, breaks = b"", 0
    while True:
        stream = Stream(rig, guest, program, have=(len(have), 0))
        assert stream.hello["stdout"] == len(have)
        want = 90_000 if breaks < 5 else 1 << 30
        acked = 0
        while len(stream.out[1]) < want and stream.receive():
            if len(stream.out[1]) - acked > 30_000:
                acked = len(stream.out[1])
                stream.send(type="ack", stdout=len(have) + acked, stderr=0)
        assert not [t for t in stream.told if t["type"] == "gap"]
        # What came after the last ack is thrown away on purpose: it must come again.
        have += stream.out[1] if not stream.open else stream.out[1][:acked]
        if not stream.open:
            break
        stream.close()
        breaks += 1
    assert breaks == 5 and have == LINES and stream.told[-1]["stdout"] == len(LINES)


def test_a_flood_that_nobody_reads_waits(rig, guest):
    before = resident_bytes(rig.process.pid)
    program = begun(rig, guest, "sh", "-c", "head -c 20000000 /dev/zero; echo all >&2", timeout_seconds=600)
    path = f"/v1/vms/{guest}/exec/{program}"
    eventually(lambda: rig.api.get(path).json["stdout_bytes"] >= 200_000, SLOW, "the window is full")
    held = once(rig, guest, "sh", "-c", f"du -sk /run/drover-exec-{program} | cut -f1")["stdout"]
    assert int(held) < 1024  # of the guest's disk
    told = rig.api.get(path).json
    assert told["state"] == "running" and told["stdout_bytes"] <= 256 * 1024 and told["stderr_bytes"] == 0
    stream = Stream(rig, guest, program)
    count = 0
    while stream.receive():
        count += len(stream.out[1])
        stream.out[1] = b""
    assert count == 20_000_000 and stream.out[2] == b"all\n" and stream.told[-1]["exit_code"] == 0
    assert resident_bytes(rig.process.pid) - before < 24 << 20


def test_what_nobody_acknowledged_and_is_too_long_ago_is_a_gap(rig, guest):
    program = begun(rig, guest, "sh", "-c", "head -c 3000000 /dev/zero", timeout_seconds=300)
    Stream(rig, guest, program).end()
    stream = Stream(rig, guest, program, have=(0, 0))
    stream.end()
    gap = stream.told[0]
    assert (gap["type"], gap["stream"], gap["from"]) == ("gap", "stdout", 0)
    assert gap["to"] + len(stream.out[1]) == 3000000


def test_the_next_client_takes_over(rig, guest):
    program = begun(rig, guest, "sh", "-c", "echo one; read x; echo two", timeout_seconds=120)
    first = Stream(rig, guest, program).until(lambda s: s.out[1] == b"one\n")
    second = Stream(rig, guest, program, have=(4, 0))
    while first.receive():
        pass
    assert first.socket.close_code == 1008
    second.send(type="eof")
    assert second.end()["exit_code"] == 0 and second.out[1] == b"two\n"


def test_frames_that_are_none_are_told(rig, guest):
    program = begun(rig, guest, "cat", timeout_seconds=120)
    stream = Stream(rig, guest, program)
    for text in ("{", "[]", '{"type": "shout"}', '{"type": "ack", "stdout": -1}', '{"type": "ack", "stdout": 99}', "x" * 5000):
        stream.told.clear()
        stream.socket.send(text)
        stream.until(lambda s: s.told)
        assert stream.told[0]["type"] == "error" and stream.told[0]["code"] == "invalid-frame"
    stream.send(type="eof")
    assert stream.end()["exit_code"] == 0


def test_bad_requests(rig, guest):
    program = begun(rig, guest, "echo", "x")
    Stream(rig, guest, program).end()
    path = f"/v1/vms/{guest}/exec/{program}/stream"
    for query, code in (("?from=1", "invalid-argument"), ("?from=-1,0", "invalid-argument"), ("?from=99,0", "invalid-argument"),
                        ("?mode=view", "invalid-argument")):
        with pytest.raises(Refused) as refused:
            rig.websocket(path + query, token="admin", subprotocols=(V1,))
        assert refused.value.status == 400 and code.encode() in refused.value.body
    with pytest.raises(Refused) as refused:
        rig.websocket(path, token="admin", subprotocols=("binary",))
    assert b"subprotocol-unknown" in refused.value.body
    assert rig.api.get(path).status == 426
    assert rig.api.get(f"/v1/vms/{guest}/exec/none").code == "exec-not-found"
    assert rig.api.delete(f"/v1/vms/{guest}/exec/none").code == "exec-not-found"
    answer = rig.api.post(f"/v1/vms/{guest}/exec", {"steps": [{"argv": ["true"]}], "stream": True})
    assert answer.status == 422 and answer.json["pointer"] == "/stream"


def test_a_ticket_opens_one_program_once(rig, guest):
    program = begun(rig, guest, "sh", "-c", "read x; echo $x", timeout_seconds=120)
    ask = {"vm": guest, "stream": f"exec/{program}/stream"}
    made = rig.api.post("/v1/tickets", ask)
    assert made.status == 201 and f"/exec/{program}/stream?" in made.json["url"], made
    ticket = f"?ticket={made.json['ticket']}"
    path = f"/v1/vms/{guest}/exec/{program}/stream"
    other = begun(rig, guest, "sleep", "60", timeout_seconds=60)
    with pytest.raises(Refused) as refused:
        rig.websocket(f"/v1/vms/{guest}/exec/{other}/stream{ticket}", token=None, subprotocols=(V1,))
    assert refused.value.status in (401, 410)
    rig.api.delete(f"/v1/vms/{guest}/exec/{other}")
    made = rig.api.post("/v1/tickets", ask).json
    socket = rig.websocket(f"{path}?ticket={made['ticket']}", token=None, subprotocols=(V1,), timeout=SLOW)
    with pytest.raises(Refused):
        rig.websocket(f"{path}?ticket={made['ticket']}", token=None, subprotocols=(V1,))
    socket.send(b"by ticket\n")
    while message := socket.receive():
        if message[0] == 2:
            assert message[1] == b"\x01by ticket\n"
    assert rig.api.post("/v1/tickets", {**ask, "mode": "view"}).json["pointer"] == "/mode"
    assert rig.api.post("/v1/tickets", {"vm": guest, "stream": "exec/x/stream"}).status == 422
    viewer = rig.api.post("/v1/tokens", {"name": "v", "role": "admin", "scopes": ["vm:read", "console:view", "console:control"]}).json
    assert rig.client(viewer["token"]).post("/v1/tickets", ask).status == 403


def test_a_revoked_token_ends_the_stream(rig, guest):
    token = rig.api.post("/v1/tokens", {"name": "t", "role": "operator"}).json
    program = begun(rig, guest, "sleep", "600", timeout_seconds=600)
    stream = Stream(rig, guest, program, token=token["token"])
    assert rig.api.delete(f"/v1/tokens/{token['id']}").status == 204
    while stream.receive():
        pass
    assert stream.socket.close_code == 1008
    rig.api.delete(f"/v1/vms/{guest}/exec/{program}")


def test_a_key_runs_it_once(rig, guest):
    key = {"Idempotency-Key": "once"}
    body = {"argv": ["sh", "-c", "echo x >>/tmp/times; wc -l </tmp/times"]}
    first = rig.api.post(f"/v1/vms/{guest}/exec", body, headers=key, patience=SLOW)
    assert first.status == 200 and first.json["stdout"].strip() == "1", first
    again = rig.api.post(f"/v1/vms/{guest}/exec", body, headers=key, patience=SLOW)
    assert again.json == first.json and again.header("idempotency-replayed") == "true"
    other = rig.api.post(f"/v1/vms/{guest}/exec", {"argv": ["true"]}, headers=key)
    assert other.status == 422 and other.code == "idempotency-key-reused"
    key = {"Idempotency-Key": "streamed"}
    one = begin(rig, guest, "sh", "-c", "echo y >>/tmp/times", headers=key).json["id"]
    two = begin(rig, guest, "sh", "-c", "echo y >>/tmp/times", headers=key)
    assert two.status == 201 and two.json["id"] == one and two.header("idempotency-replayed") == "true"
    Stream(rig, guest, one).end()
    assert once(rig, guest, "cat", "/tmp/times")["stdout"] == "x\ny\n"


def drover(rig, *words, **kw):
    return subprocess.run([BUILD / "drover", "--url", rig.url, *words], env={**os.environ, "DROVER_TOKEN": rig.admin_token()},
                          capture_output=True, timeout=SLOW, **kw)


def test_the_command_line_shows_output_as_it_comes(rig, guest):
    words = [BUILD / "drover", "--url", rig.url, "exec", "-i", "--timeout", "120", guest, "--", "sh", "-c",
             "echo first; read x; echo $x >&2; cat; exit 5"]
    process = subprocess.Popen(words, env={**os.environ, "DROVER_TOKEN": rig.admin_token()}, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == b"first\n"
    process.stdin.write(b"typed\n")
    process.stdin.flush()
    assert process.stderr.readline() == b"typed\n"
    out, err = process.communicate(b"\x00\xff" * 100_000, timeout=SLOW)
    assert (process.returncode, out, err) == (5, b"\x00\xff" * 100_000, b"")


def test_the_command_line_prints_all_of_much(rig, guest):
    done = drover(rig, "exec", "--timeout", "600", guest, "--", "sh", "-c", COUNT)
    assert done.returncode == 0 and done.stdout == LINES and done.stderr == b""
    assert drover(rig, "exec", guest, "--", "/nonexistent").returncode == 127
    assert drover(rig, "exec", "--no-stream", guest, "--", "sh", "-c", "echo out; exit 4").stdout == b"out\n"
    told = json.loads(drover(rig, "--json", "exec", guest, "--", "echo", "x").stdout)
    assert told["stdout"] == "x\n"


def test_an_interrupt_kills_the_program_in_the_guest(rig, guest):
    words = [BUILD / "drover", "--url", rig.url, "exec", "--timeout", "600", guest, "--", "sh", "-c", "echo on; sleep 999"]
    process = subprocess.Popen(words, env={**os.environ, "DROVER_TOKEN": rig.admin_token()}, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"on\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(SLOW) == 128 + 9
    eventually(lambda: "sleep 999" not in once(rig, guest, "ps")["stdout"], SLOW, "the end of what it began")


def test_the_restarted_daemon_does_not_run_it_again(rig, guest):
    key = {"Idempotency-Key": "before the restart"}
    body = {"argv": ["sh", "-c", "echo z >>/tmp/times"]}
    assert rig.api.post(f"/v1/vms/{guest}/exec", body, headers=key, patience=SLOW).status == 200
    running = begun(rig, guest, "sleep", "5", timeout_seconds=600)
    rig.stop()
    rig.start()
    eventually(lambda: rig.api.get(f"/v1/vms/{guest}/agent").json["state"] == "ready", SLOW, "the agent")
    again = rig.api.post(f"/v1/vms/{guest}/exec", body, headers=key, patience=SLOW)
    assert again.status == 409 and again.code == "outcome-unknown" and again.json["remedy"]
    assert once(rig, guest, "cat", "/tmp/times")["stdout"].count("z") == 1
    assert Stream(rig, guest, running).end()["exit_code"] == 0


def test_a_guest_that_goes_off_ends_the_stream(rig, demo_image):
    vm = rig.create("demo", memory_mib=96, wait="agent")["id"]
    stream = Stream(rig, vm, begun(rig, vm, "sh", "-c", "echo on; sleep 1000", timeout_seconds=600))
    stream.until(lambda s: s.out[1] == b"on\n")
    rig.act(vm, "stop")
    ended = stream.end()
    assert ended["state"] == "failed" and ended["problem"]["code"] and ended["cut"]


# ---- over a restart ----


def nothing_of_it_is_left(rig, vm, program):
    look = "echo /run/drover-exec-* /tmp/drover-exec-*; ps"
    return eventually(lambda: program not in once(rig, vm, "sh", "-c", look)["stdout"], SLOW, f"nothing of {program}")


NUMBERS = "i=0; while read x; do j=0; while [ $j -lt 3000 ]; do echo line-$i; i=$((i + 1)); j=$((j + 1)); done; done; echo done >&2; exit 7"


def gone(rig, how):
    """The daemon away and back; it meets its guests again by itself."""
    if how == "kill":
        rig.kill9()
    else:
        rig.stop()
    rig.start()


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_program_goes_on_over_a_restart_and_nothing_is_missing(rig, guest, how):
    program = begun(rig, guest, "sh", "-c", NUMBERS, timeout_seconds=600)
    path, have, input_sent = f"/v1/vms/{guest}/exec/{program}", b"", 0
    for _ in range(3):
        stream = Stream(rig, guest, program, have=(len(have), 0))
        assert stream.hello["stdin"] == input_sent
        stream.socket.send(b"go\n")
        input_sent += 3
        wanted = sum(len(b"line-%d\n" % i) for i in range(input_sent // 3 * 3000)) - len(have)
        stream.until(lambda s: len(s.out[1]) >= wanted - 10_000 and any(t["type"] == "stdin" for t in s.told) or
                     any(t["type"] == "gap" for t in s.told))
        assert not [t for t in stream.told if t["type"] == "gap"]
        kept = len(stream.out[1]) // 2  # the rest is thrown away on purpose: it must come again
        stream.send(type="ack", stdout=len(have) + kept, stderr=0)
        have += stream.out[1][:kept]
        gone(rig, how)
        stream.close()
        assert rig.api.get(path).json["state"] in ("starting", "running")
    eventually(lambda: rig.api.get(path).json["state"] == "running", SLOW, "the daemon found it again")
    stream = Stream(rig, guest, program, have=(len(have), 0))
    stream.send(type="eof")
    ended = stream.end()
    assert have + stream.out[1] == b"".join(b"line-%d\n" % i for i in range(9000)) and stream.out[2] == b"done\n"
    assert (ended["state"], ended["exit_code"], ended["cut"]) == ("ended", 7, False)
    gone(rig, how)
    told = rig.api.get(path).json
    assert (told["state"], told["exit_code"], told["stdin_bytes"]) == ("ended", 7, 9) and told["argv"][0] == "sh"
    assert Stream(rig, guest, program, have=(told["stdout_bytes"], told["stderr_bytes"])).end()["exit_code"] == 7
    eventually(lambda: rig.api.get(f"/v1/vms/{guest}/agent").json["state"] == "ready", SLOW, "the agent")
    assert nothing_of_it_is_left(rig, guest, program)


def test_what_ended_or_was_to_die_while_the_daemon_was_away(rig, guest):
    key = {"Idempotency-Key": "over the restart"}
    ended = begin(rig, guest, "sh", "-c", "echo on; read x; echo off; exit 9", headers=key, timeout_seconds=600).json["id"]
    late = begun(rig, guest, "sh", "-c", "echo on; sleep 1000", timeout_seconds=2)
    stream = Stream(rig, guest, ended).until(lambda s: s.out[1])
    stream.send(type="eof")
    rig.kill9()
    rig.start()
    again = begin(rig, guest, "sh", "-c", "echo on; read x; echo off; exit 9", headers=key, timeout_seconds=600)
    assert again.status == 201 and again.json["id"] == ended and again.header("idempotency-replayed") == "true"
    stream = Stream(rig, guest, ended, have=(3, 0))
    stream.send(type="eof")
    told = stream.end()
    assert stream.out[1] == b"off\n" and told["exit_code"] == 9, (stream.out, told)
    told = Stream(rig, guest, late).end()
    assert told["timed_out"] and told["signal"] == 9
    assert nothing_of_it_is_left(rig, guest, ended) and nothing_of_it_is_left(rig, guest, late)


def test_a_guest_that_was_started_anew_meanwhile_has_no_such_program(rig, guest):
    vm = guest
    off = rig.create("demo", memory_mib=96, wait="agent")["id"]
    program = begun(rig, vm, "sh", "-c", "echo on; sleep 1000", timeout_seconds=600)
    other = begun(rig, off, "sh", "-c", "echo on; sleep 1000", timeout_seconds=600)
    once(rig, vm, "sh", "-c", "kill $(cat /run/drover-exec-*/pids); rm -rf /run/drover-exec-*")  # as a reboot leaves it
    rig.kill9()
    kill_qemu(off)
    rig.start()
    told = Stream(rig, vm, program).end()
    assert told["state"] == "failed" and told["problem"]["code"] == "outcome-unknown", told
    assert "anew" in told["problem"]["detail"]
    told = Stream(rig, off, other).end()
    assert told["state"] == "failed" and told["problem"]["code"], told


def test_the_command_line_follows_over_a_restart(rig, guest):
    words = [BUILD / "drover", "--socket", rig.state_dir / "drover.sock", "exec", "--timeout", "600", guest, "--", "sh", "-c",
             "echo first; while [ ! -e /tmp/go-on ]; do sleep 1; done; echo second; exit 6"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # the rig's port changes
    assert process.stdout.readline() == b"first\n"
    rig.stop()
    rig.start()
    eventually(lambda: rig.api.get(f"/v1/vms/{guest}/agent").json["state"] == "ready", SLOW, "the agent")
    once(rig, guest, "touch", "/tmp/go-on")
    out, err = process.communicate(timeout=SLOW)
    assert (process.returncode, out, err) == (6, b"second\n", b"")
