"""Starting, waiting, stopping, guests that go off by themselves, and guests that never stop talking."""
import os
import re
import time

import pytest

from rig import HELLO, SLOW, eventually, processes, qemu_pid, resident_bytes
from websocket import Refused


def test_wait_running(rig):
    made = rig.create(wait="running")
    assert made["state"] == "running" and made["started_at"] and made["operation"]["state"] in ("running", "succeeded")
    assert qemu_pid(made["id"])
    assert [e["data"]["state"] for e in rig.events(made["id"], "vm.state")][-1] == "running"


def test_wait_console(rig):
    made = rig.create(wait="console")
    assert made["state"] == "running"
    assert HELLO.startswith(rig.log_raw(made["id"]).body[:1])


def test_wait_console_of_a_guest_that_says_nothing(rig):
    """Nothing to boot from: it runs, and says nothing; the answer says so, and the VM stays."""
    answer = rig.api.post("/v1/vms", {"name": "silent", "memory_mib": 16, "acceleration": "emulated",
                                      "networks": [], "start": True}, wait="console", timeout=4)
    assert answer.status == 504 and answer.code == "timeout", answer
    assert rig.wait_state("silent", "running")
    rig.delete("silent")


def test_wait_without_start_is_refused(rig):
    assert rig.api.post("/v1/vms", {"name": "idle"}, wait="running").status == 400
    assert rig.api.get("/v1/vms/idle").status == 404


def test_a_guest_that_goes_off_by_itself(rig):
    vm = rig.create("halt", start=False)["id"]
    rig.act(vm, "start")
    with rig.console(vm) as c:
        assert c.until_closed() == 1000
        assert c.received == b"Going down.\r\n"
    found = rig.wait_state(vm, "stopped")
    assert found["state_reason"] == "shutdown" and not found["pending_changes"]
    eventually(lambda: not processes(vm), 30, "no QEMU process")
    last = rig.events(vm, "vm.state")[-1]["data"]
    assert last["state"] == "stopped" and last["reason"] == "shutdown"
    assert rig.log_raw(vm).body == b"Going down.\r\n"
    stats = rig.api.get(f"/v1/vms/{vm}/stats").json
    eventually(lambda: rig.api.get(f"/v1/vms/{vm}/stats").json["sampled_at"] is None, 30, f"no figures: {stats}")


def test_waiting_for_the_console_of_a_guest_that_is_off_again(rig):
    made = rig.create("halt", wait="console")
    assert rig.wait_state(made["id"], "stopped")


def test_stop_and_start_again_and_their_speed(rig, capsys):
    vm = rig.create(wait="console")["id"]
    starts, stops = [], []
    for _ in range(3):
        begin = time.monotonic()
        rig.act(vm, "stop")
        stops.append(time.monotonic() - begin)
        assert rig.vm(vm)["state"] == "stopped" and not processes(vm)
        begin = time.monotonic()
        rig.act(vm, "start")
        starts.append(time.monotonic() - begin)
        assert rig.vm(vm)["state"] == "running" and qemu_pid(vm)
    begin = time.monotonic()
    rig.delete(vm)
    deleted = time.monotonic() - begin
    with capsys.disabled():
        print(f"\n  start {min(starts):.2f} s, stop {min(stops):.2f} s, delete of a running VM {deleted:.2f} s (best)")


def test_what_does_not_fit_the_state_is_refused(rig):
    vm = rig.create(wait="running")["id"]
    assert rig.api.post(f"/v1/vms/{vm}/start").code == "vm-state-conflict"
    assert rig.api.post(f"/v1/vms/{vm}/resume").code == "vm-state-conflict"
    assert rig.api.delete(f"/v1/vms/{vm}").code == "vm-state-conflict"
    rig.act(vm, "stop")
    for verb in ("stop", "shutdown", "pause", "save", "reset", "reboot"):
        assert rig.api.post(f"/v1/vms/{vm}/{verb}").code == "vm-state-conflict", verb


def test_reset_boots_again_in_the_same_process(rig):
    vm = rig.create(wait="console")["id"]
    pid = qemu_pid(vm)
    with rig.console(vm) as c:
        c.expect(re.escape(HELLO))
        rig.act(vm, "reset")
        c.expect(re.escape(HELLO))
    assert qemu_pid(vm) == pid
    eventually(lambda: rig.events(vm, "vm.rebooted"), 30, "vm.rebooted")


def test_shutdown_that_the_guest_does_not_obey(fresh_rig):
    rig = fresh_rig(settings={"shutdown_timeout_seconds": 5})
    rig.expect_warning("vm.shutdown of VM .* failed")
    vm = rig.create(wait="console")["id"]  # hello has no ACPI: it does not notice the button
    failed = rig.act(vm, "shutdown", state="failed")
    assert failed["error"]["code"] == "timeout" and failed["error"]["remedy"]
    assert rig.wait_state(vm, "running")
    with rig.console(vm) as c:
        c.expect(re.escape(HELLO))
        c.send(b"still here")
        c.expect(rb"still here")
    # A stop overtakes a shutdown that waits.
    assert rig.api.post(f"/v1/vms/{vm}/shutdown").status == 202
    rig.wait_state(vm, "stopping")
    rig.act(vm, "stop")
    assert rig.vm(vm)["state"] == "stopped"


def test_a_flooding_guest_costs_a_ring_and_slows_nobody(fresh_rig, monkeypatch, capsys):
    # ASan keeps freed memory for a while: a small quarantine shows growth that is real.
    monkeypatch.setenv("ASAN_OPTIONS", os.environ["ASAN_OPTIONS"] + ":quarantine_size_mb=4")
    # A thread that first allocates now would bring an arena of its own, which is no growth of the console's.
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    rig = fresh_rig()
    quiet = rig.create(wait="console")["id"]
    flood = rig.create("flood", wait="console")["id"]
    stalled = [rig.console(flood) for _ in range(3)]  # they never read
    with rig.console(flood) as reader, rig.console(quiet) as typist:
        typist.expect(re.escape(HELLO))

        def flow(seconds):
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                reader.receive()
            return int(rig.log_raw(flood).header("X-Drover-Next"))

        start, before = flow(2), resident_bytes(rig.pid)
        next_offset, slowest, keys, end = start, 0, 0, time.monotonic() + SLOW
        while next_offset - start < 3 * 262144 or keys < 8:  # the ring is overwritten three times
            assert time.monotonic() < end, f"{next_offset - start} bytes in {SLOW} s"
            next_offset = flow(0.5)
            keys += 1
            begin = time.monotonic()
            typist.send(f"key {keys};".encode())
            typist.expect(f"key {keys};".encode())
            slowest = max(slowest, time.monotonic() - begin)
        grown = resident_bytes(rig.pid) - before
        with capsys.disabled():
            print(f"\n  flood: {(next_offset - start) / 1e6:.1f} MB passed, memory grew by {grown / 1024:.0f} KiB, "
                  f"slowest echo of another guest {slowest * 1000:.0f} ms")
        assert grown < 4 << 20
        assert slowest < 5
        log = rig.log_raw(flood)
        assert len(log.body) <= 262144 + 1048576  # the ring, and what the file has before it
    for viewer in stalled:
        viewer.close()
    assert rig.api.get("/readyz").status == 200


def test_the_number_of_viewers_has_a_limit(fresh_rig):
    rig = fresh_rig(settings={"console_viewers": 2})
    vm = rig.create(wait="console")["id"]
    viewers = [rig.console(vm) for _ in range(2)]
    with pytest.raises(Refused) as refused:
        rig.console(vm)
    assert refused.value.status == 429 and b"too-many-viewers" in refused.value.body
    viewers.pop().close()

    def try_again():
        try:
            return rig.console(vm)
        except Refused:
            return None
    viewers.append(eventually(try_again, 30, "a place is free again"))
    for c in viewers:
        c.close()
