"""Recordings of real consoles: what is in them, when they begin and end, and what outlives what."""
import json
import subprocess

import pytest

from rig import BUILD, HELLO, SLOW, eventually

V1 = ("drover.console.v1",)


def boot(rig, **definition):
    """A VM that has printed all it prints by itself."""
    vm = rig.create(wait="console", **definition)["id"]
    with rig.console(vm) as c:
        c.expect(HELLO)
    return vm


def record(rig, vm, status=201, **body):
    answer = rig.api.post(f"/v1/vms/{vm}/recordings", body or None)
    assert answer.status == status, answer
    return answer.json


def stop(rig, recording):
    answer = rig.api.post(f"/v1/recordings/{recording['id']}/stop")
    assert answer.status == 200, answer
    return answer.json


def listed(rig, vm):
    answer = rig.api.get("/v1/recordings", vm=vm)
    assert answer.status == 200
    return answer.json["items"]


def read(rig, recording):
    """(header, events), as every player reads it."""
    answer = rig.api.get(f"/v1/recordings/{recording['id']}/content")
    assert answer.status == 200, answer
    assert answer.header("Content-Type") == "application/x-asciicast"
    header, *events = map(json.loads, answer.text.splitlines())
    times = [e[0] for e in events]
    assert header["version"] == 2 and times == sorted(times)
    return header, events


def output(events):
    return "".join(e[2] for e in events if e[1] == "o").encode()


def finished(rig, vm, count=1):
    def look():
        found = listed(rig, vm)
        return found if len(found) == count and found[0]["state"] != "recording" else None
    return eventually(look, 30, f"{count} recordings, the newest of them finished")[0]


def type_in(rig, vm, text):
    with rig.console(vm, from_=int(rig.log_raw(vm).header("X-Drover-Next"))) as c:
        c.send(text)
        c.expect(text.replace(b".", rb"\."))


def test_what_is_printed_while_it_runs_is_recorded_with_its_time(rig):
    vm = boot(rig)
    type_in(rig, vm, b"before.")
    made = record(rig, vm)
    assert made["state"] == "recording" and made["finished_at"] is None and made["stream"] == "console"
    type_in(rig, vm, b"one.")
    type_in(rig, vm, b"two.")
    assert record(rig, vm, status=409)["code"] == "recording-state-conflict"
    eventually(lambda: output(read(rig, made)[1]) == b"one.two.", 20, "it can be read while it is made")
    end = stop(rig, made)
    type_in(rig, vm, b"after.")
    header, events = read(rig, made)
    assert (header["width"], header["height"]) == (80, 24) == (end["cols"], end["rows"])
    assert output(events) == b"one.two."
    assert end["state"] == "finished" and end["state_reason"] == "it was stopped"
    assert end["size_bytes"] == len(rig.api.get(f"/v1/recordings/{made['id']}/content").body)
    assert events[-1][0] <= end["duration_seconds"] + 0.001
    assert rig.api.post(f"/v1/recordings/{made['id']}/stop").code == "recording-state-conflict"
    assert rig.api.delete(f"/v1/recordings/{made['id']}").status == 204
    assert rig.api.get(f"/v1/recordings/{made['id']}").code == "recording-not-found"
    assert not list((rig.state_dir / "recordings").iterdir())
    kinds = [e["type"] for e in rig.api.get("/v1/events", limit=1000).json["items"] if e["subject"]["id"] == made["id"]]
    assert kinds == ["recording.started", "recording.finished", "recording.deleted"]


def test_viewers_are_told(rig):
    vm = boot(rig)
    with rig.console(vm, subprotocols=V1) as c:
        assert c.control("hello")["recording"] is False
        made = record(rig, vm)
        while not (told := c.control("viewers"))["recording"] or told["count"] != 1:
            pass  # who was here before may just be leaving
        with rig.console(vm, subprotocols=V1) as late:
            assert late.control("hello")["recording"] is True
        stop(rig, made)
        while c.control("viewers")["recording"]:
            pass


def test_each_boot_of_such_a_vm_is_recorded_from_its_first_byte(rig):
    vm = boot(rig, record_console=True)
    made = listed(rig, vm)[0]
    assert made["state"] == "recording" and made["actor"] == "system"
    rig.act(vm, "stop")
    first = finished(rig, vm)
    assert first["state_reason"] == "the VM stopped"
    assert output(read(rig, first)[1]).endswith(HELLO) and rig.log_raw(vm).body == output(read(rig, first)[1])
    rig.act(vm, "start")
    eventually(lambda: listed(rig, vm)[0]["state"] == "recording" and len(listed(rig, vm)) == 2, 30, "the second boot")
    assert rig.api.patch(f"/v1/vms/{vm}", {"record_console": False}).status == 200
    assert rig.vm(vm)["pending_changes"] is False
    rig.act(vm, "stop")
    finished(rig, vm, 2)
    rig.act(vm, "start")
    with rig.console(vm) as c:
        c.expect(HELLO)
    assert len(listed(rig, vm)) == 2


def test_a_recording_outlives_its_vm(rig):
    vm = boot(rig)
    made = record(rig, vm)
    type_in(rig, vm, b"last words.")
    rig.delete(vm)
    end = finished(rig, vm)
    assert end["id"] == made["id"] and end["state"] == "finished"
    assert b"last words." in output(read(rig, made)[1])


def test_a_size_that_is_said_is_kept_and_recorded(rig):
    vm = boot(rig)
    made = record(rig, vm)
    with rig.console(vm, subprotocols=V1) as c:
        c.control("hello")
        c.send(json.dumps({"type": "size", "rows": 50, "cols": 132}))
        assert c.control("size")["cols"] == 132
    eventually(lambda: [e[1:] for e in read(rig, made)[1]] == [["r", "132x50"]], 20, "the change of size")
    stop(rig, made)
    made = record(rig, vm)
    assert (made["rows"], made["cols"]) == (50, 132)
    assert read(rig, made)[0]["width"] == 132


def test_a_daemon_that_stops_and_one_that_is_killed(fresh_rig):
    rig = fresh_rig()
    vm = boot(rig, record_console=True)
    with rig.console(vm, subprotocols=V1) as c:
        c.send(json.dumps({"type": "size", "rows": 33, "cols": 99}))
        c.control("size")
    rig.restart()
    rig.wait_state(vm, "running")
    eventually(lambda: len(listed(rig, vm)) == 2, 60, "it goes on in a second one")
    second, first = listed(rig, vm)
    assert first["state_reason"] == "the daemon stopped" and second["state"] == "recording"
    assert (second["rows"], second["cols"]) == (33, 99)
    type_in(rig, vm, b"seen.")
    eventually(lambda: output(read(rig, second)[1]) == b"seen.", 20, "the second one has it")
    file = rig.state_dir / "recordings" / f"{second['id']}.cast"
    rig.kill9()
    with file.open("ab") as torn:
        torn.write(b'[99.5, "o", "to')
    rig.start()
    rig.wait_state(vm, "running")
    eventually(lambda: len(listed(rig, vm)) == 3, 60, "and in a third")
    second = listed(rig, vm)[1]
    assert second["state"] == "finished" and "killed" in second["state_reason"]
    events = read(rig, second)[1]
    assert output(events) == b"seen." and events[-1][1] == "m" and "killed" in events[-1][2]
    assert second["duration_seconds"] == pytest.approx(events[-1][0], abs=0.001)


def test_a_bound_ends_a_recording_and_a_flood_slows_nobody(fresh_rig):
    rig = fresh_rig(settings={"recording_bytes": 65536})
    vm = rig.create("flood", wait="console")["id"]
    made = record(rig, vm)
    end = finished(rig, vm)
    assert end["state_reason"] == "it reached its bound of 65536 bytes" and 60000 < end["size_bytes"] <= 65536
    header, events = read(rig, made)
    assert events and all(e[1] in "om" for e in events)


def test_what_cannot_be_recorded(rig):
    vm = rig.create(start=False)["id"]
    assert record(rig, vm, status=409)["code"] == "stream-unavailable"
    assert record(rig, vm, status=404, stream="channels/none")["code"] == "stream-not-found"
    assert record(rig, vm, status=422, stream="vsock/1")["pointer"] == "/stream"
    assert record(rig, "nobody", status=404)["code"] == "vm-not-found"
    assert rig.api.post(f"/v1/vms/{vm}/recordings", {"colour": 1}).json["pointer"] == "/colour"
    assert listed(rig, vm) == []


def drover(rig, *args):
    done = subprocess.run([BUILD / "drover", "--socket", rig.socket_path, *args], capture_output=True, timeout=SLOW,
                          check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_records_fetches_and_plays(rig, tmp_path):
    vm = boot(rig)
    made = drover(rig, "recording", "start", vm).decode().strip()
    type_in(rig, vm, b"cli.")
    assert b"finished" in drover(rig, "recording", "stop", made)
    assert made in drover(rig, "recording", "list", vm).decode()
    file = tmp_path / "a.cast"
    drover(rig, "recording", "get", made, "--file", str(file))
    assert file.read_bytes() == rig.api.get(f"/v1/recordings/{made}/content").body
    assert drover(rig, "recording", "play", made) == b"cli." == drover(rig, "recording", "play", str(file))
    drover(rig, "recording", "delete", made)
    assert listed(rig, vm) == []
