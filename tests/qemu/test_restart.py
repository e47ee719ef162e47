"""The daemon goes and comes back while guests run; guests die while it looks, and while it does not."""
import re
import shutil
import time
from pathlib import Path

import pytest

from rig import HELLO, PROMPT, eventually, kill_qemu, processes, qemu_pid


@pytest.fixture(scope="module")
def hello(rig):
    return rig.create(name="adopted", wait="console")["id"]


def finished(rig, op_id, seconds=60):
    def look():
        found = rig.api.get(f"/v1/operations/{op_id}").json
        return found if found["state"] in ("succeeded", "failed", "cancelled") else None
    return eventually(look, seconds, f"operation {op_id} finished")


def test_guests_outlive_the_daemon_and_are_adopted(rig, hello):
    before, pid = rig.vm(hello), qemu_pid(hello)
    viewer = rig.console(hello)
    viewer.expect(re.escape(HELLO))
    rig.stop()
    assert viewer.until_closed() == 1001
    assert qemu_pid(hello) == pid
    rig.start()
    after = rig.vm(hello)
    assert after["state"] == "running" and qemu_pid(hello) == pid
    assert {k: after[k] for k in ("started_at", "etag", "effective_acceleration", "pending_changes")} == \
           {k: before[k] for k in ("started_at", "etag", "effective_acceleration", "pending_changes")}
    assert rig.events(hello, "vm.state")[-1]["data"]["state"] == "running"
    with rig.console(hello) as c:
        c.send(b"still here")
        c.expect(rb"still here")
    eventually(lambda: (rig.api.get(f"/v1/vms/{hello}/stats").json.get("memory") or {}).get("resident_bytes"),
               20, "figures of an adopted guest")


def test_the_short_name_of_a_long_state_directory(fresh_rig):
    """libvirt's workers write through it until the process is gone: it must not go before them. Where one
    has made a directory of it all the same, no guest is lost for that."""
    rig = fresh_rig()
    root = (rig.state_dir / "libvirt").resolve()
    assert len(str(root)) > 26
    rig.expect_warning("was not a link")
    vm = rig.create(wait="console")["id"]
    pid = qemu_pid(vm)
    name, = (n for n in Path("/run/drover").iterdir() if n.is_symlink() and n.resolve() == root)
    rig.stop()
    assert name.is_symlink()
    name.unlink()
    (name / "run/qemu").mkdir(parents=True)
    (name / "run/qemu" / f"{rig.made[-1]}.xml").write_text("<domstatus/>")
    rig.start()
    assert name.is_symlink() and name.resolve() == root
    assert rig.vm(vm)["state"] == "running" and qemu_pid(vm) == pid
    aside, = Path("/run/drover").glob(f"{name.name}.*")
    shutil.rmtree(aside)


@pytest.mark.parametrize("end", ["stop", "kill9"])
def test_an_offset_of_before_the_restart(rig, hello, end):
    """What was printed before is still there; a resuming viewer is told that something may be missing, and
    loses nothing new; no offset comes again."""
    with rig.console(hello) as c:
        c.send(b"before the restart" * 10)
        c.expect(rb"(before the restart){10}")
    old = int(rig.log_raw(hello).header("X-Drover-Next"))
    getattr(rig, end)()
    rig.start()
    with rig.console(hello) as typist:  # more than was ever printed, so that no offset is in the future
        typist.send(b"after the restart;" * 40)
        typist.expect(rb"(after the restart;){40}")
    with rig.console(hello, from_=old, timeout=20) as raw:
        raw.expect(rb"(after the restart;){40}")
    with rig.console(hello, from_=old, subprotocols=["drover.console.v1"], timeout=20) as c:
        c.expect(rb"(after the restart;){40}")
        hello_frame = c.control("hello")
        gap = c.control("gap")
        assert hello_frame["offset"] == gap["from"] == old and gap["to"] > old and gap["reason"] == "restart"
        assert c.received.startswith(b"after the restart;")
    body = rig.log_raw(hello).body
    assert body.index(b"before the restart") < body.index(b"after the restart;")


def test_a_counting_guest_goes_on_counting(rig):
    vm = rig.create("count", wait="console")["id"]
    rig.kill9()
    rig.start()
    assert rig.vm(vm)["state"] == "running"
    with rig.console(vm) as c:
        c.expect(rb"\n\d{10}\r\n\d{10}\r\n")
    rig.delete(vm)


def test_a_guest_that_dies_is_found_at_once(rig):
    vm = rig.create(wait="console")["id"]
    viewer = rig.console(vm)
    viewer.expect(re.escape(HELLO))
    begin = time.monotonic()
    kill_qemu(vm)
    found = rig.wait_state(vm, "crashed", "stopped", seconds=10)
    took = time.monotonic() - begin
    assert found["state"] == "crashed" and found["state_reason"], found
    assert viewer.until_closed() == 1000
    last = rig.events(vm, "vm.state")[-1]["data"]
    assert (last["state"], last["reason"]) == ("crashed", found["state_reason"])
    assert took < 5
    rig.act(vm, "start")
    with rig.console(vm) as c:
        c.expect(re.escape(HELLO))
    rig.delete(vm)


@pytest.mark.parametrize("end", ["stop", "kill9"])
def test_a_guest_that_died_meanwhile_is_found_at_start(rig, end):
    vm = rig.create(wait="console")["id"]
    other = rig.create(wait="console")["id"]
    getattr(rig, end)()
    kill_qemu(vm)
    rig.start()
    # libvirt looks at its guests after it said that it is there, and for as long as PID 1 has not
    # collected the dead process (up to half a minute where it is slow) takes it for one that is busy.
    found = rig.wait_state(vm, "crashed", "stopped", seconds=60)
    assert found["state_reason"], found
    assert rig.vm(other)["state"] == "running"
    assert rig.events(vm, "vm.state")[-1]["data"]["state"] == found["state"]
    rig.act(vm, "start")
    assert qemu_pid(vm)
    rig.delete(vm)
    rig.delete(other)


def test_a_guest_that_went_off_meanwhile_is_found_at_start(rig, demo_image):
    """Off by itself, while nobody looked: its QEMU stands still until libvirt ends it."""
    vm = rig.create("halt", start=False)["id"]
    op = rig.api.post(f"/v1/vms/{vm}/start").json
    eventually(lambda: processes(vm), 30, "QEMU runs", every=0.002)
    rig.kill9()
    rig.start()
    assert finished(rig, op["id"])["state"] == "succeeded"
    assert rig.wait_state(vm, "stopped", seconds=60)["state_reason"]
    eventually(lambda: not processes(vm), 60, "no QEMU process")
    rig.delete(vm)


@pytest.mark.parametrize("delay", [0, 0.05, 0.15, 0.3, 0.4, 0.5, 0.7])
def test_a_start_goes_on_after_kill_9(rig, delay):
    """At several moments: before libvirt is asked, while QEMU starts, while it is asked for its CPU."""
    vm = rig.create(start=False)["id"]
    eventually(lambda: not [o for o in rig.api.get("/v1/operations", state="running").json["items"]], 30, "idle")
    op = rig.api.post(f"/v1/vms/{vm}/start").json
    time.sleep(delay)  # the moment of the blow, not a wait for something
    rig.kill9()
    rig.start()
    assert finished(rig, op["id"])["state"] == "succeeded"
    found = rig.vm(vm)
    assert found["state"] == "running" and found["started_at"]
    pid = qemu_pid(vm)
    with rig.console(vm) as c:  # its banner may have gone to the daemon before
        def answers():
            c.send(b"are you there?")
            return b"are you there?" in rig.log_raw(vm).body
        eventually(answers, 90, "an echo", every=0.5)
    assert qemu_pid(vm) == pid
    rig.delete(vm)
    eventually(lambda: not processes(vm), 30, "no QEMU process")


def test_a_stop_and_a_delete_go_on_after_kill_9(rig):
    vms = [rig.create(wait="running")["id"] for _ in range(2)]
    ops = [rig.api.post(f"/v1/vms/{vms[0]}/stop").json, rig.api.delete(f"/v1/vms/{vms[1]}", force=True).json]
    rig.kill9()
    rig.start()
    for op in ops:
        assert finished(rig, op["id"])["state"] == "succeeded"
    assert rig.vm(vms[0])["state"] == "stopped"
    assert rig.api.get(f"/v1/vms/{vms[1]}").status == 404
    eventually(lambda: not processes(vms[0]) and not processes(vms[1]), 30, "no QEMU process")
    assert not (rig.state_dir / "vms" / vms[1]).exists()


def test_linux_goes_on_over_a_restart(rig, demo_image):
    vm = rig.create("demo", memory_mib=128, channels=["org.example.0"], wait="running")["id"]
    with rig.console(vm) as c:
        c.expect(PROMPT)
        before = c.run("cat /proc/sys/kernel/random/boot_id")
    rig.restart()
    with rig.console(vm) as c, rig.console(vm, "channels/org.example.0") as channel:
        c.send(b"\n")
        c.expect(PROMPT)
        assert c.run("cat /proc/sys/kernel/random/boot_id") == before
        channel.send(b"hello again")
        channel.expect(rb"hello again")
    rig.act(vm, "shutdown")
    assert rig.vm(vm)["state"] == "stopped"
