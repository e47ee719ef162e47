"""A Linux guest, booted once under emulation: shell, channel, disks, figures, and every way to stop it
for a while and go on. The tests of this file are in the order in which they use the guest."""
import os
import re
from pathlib import Path

import pytest

from rig import PROMPT, eventually, processes, qemu_pid

GIB = 1 << 30


@pytest.fixture(scope="module")
def linux(rig, demo_image):
    made = rig.create("demo", name="linux", memory_mib=128, channels=["org.example.0"], wait="running",
                      networks=[{"mode": "user"}], disks=[{"size_gib": 1}, {"size_gib": 3}])
    return made["id"]


@pytest.fixture(scope="module")
def shell(rig, linux):
    """One viewer from power-on to power-off."""
    with rig.console(linux) as c:
        c.expect(PROMPT)
        yield c


def uptime(shell):
    return float(shell.run("cat /proc/uptime").split()[0])


def boot_id(shell):
    return shell.run("cat /proc/sys/kernel/random/boot_id")


def test_prompt_and_answer(shell):
    assert shell.run("echo $((6 * 7))") == "42"
    assert shell.run("nproc") == "1"


def test_has_what_was_defined(rig, linux, shell):
    vm = rig.vm(linux)
    kib = int(re.search(r"MemTotal:\s+(\d+)", shell.run("grep MemTotal /proc/meminfo"))[1])
    assert 80 << 10 < kib <= 128 << 10
    assert shell.run("cat /sys/class/net/eth0/address") == vm["networks"][0]["mac"]
    assert "org.example.0" in shell.run("ls /dev/virtio-ports")
    assert "org.qemu.guest_agent.0" in shell.run("ls /dev/virtio-ports")


def test_data_disks_have_their_sizes(shell):
    assert [int(shell.run(f"cat /sys/block/{disk}/size")) * 512 for disk in ("vda", "vdb")] == [GIB, 3 * GIB]
    assert "vdc" not in shell.run("ls /sys/block")


def test_the_network_works(shell):
    eventually(lambda: "10.0.2.15" in shell.run("ip -4 addr show dev eth0"), 60, "an address by DHCP", every=0.5)


def test_the_channel_echoes(rig, linux, shell):
    payload = os.urandom(20000)
    with rig.console(linux, "channels/org.example.0") as first:
        first.send(payload)
        first.expect(re.escape(payload))
    with rig.console(linux, "channels/org.example.0") as late:  # the same rules: a ring, from its beginning
        late.send(b"again")
        late.expect(b"again")
        assert late.received == payload + b"again"


def test_a_channel_that_is_not_defined(rig, linux):
    from websocket import Refused
    with pytest.raises(Refused) as refused:
        rig.console(linux, "channels/org.example.1")
    assert refused.value.status == 404


def test_figures(rig, linux, shell):
    shell.run("head -c 3000000 /dev/vda | wc -c; echo written | dd of=/dev/vdb bs=512 conv=sync,fsync 2>/dev/null")

    def sample():
        found = rig.api.get(f"/v1/vms/{linux}/stats").json
        disks = {d["name"]: d for d in found["disks"]}
        return found if disks.get("vdb", {}).get("write_bytes", 0) >= 512 else None
    stats = eventually(sample, 20, "a sample with what was written")
    assert not stats["stale"] and stats["cpu"]["usage_seconds"] > 0.5 and stats["cpu"]["vcpus"] == 1
    memory, disks = stats["memory"], {d["name"]: d for d in stats["disks"]}
    assert memory["maximum_bytes"] == 128 << 20 and memory["balloon_bytes"] == 128 << 20
    resident = int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{qemu_pid(linux)}/status").read_text())[1]) * 1024
    assert 0.5 * resident < memory["resident_bytes"] < 2 * resident
    assert set(disks) == {"vda", "vdb"}
    assert disks["vda"]["read_bytes"] >= 3000000 and disks["vda"]["read_requests"] > 0
    assert disks["vda"]["capacity_bytes"] == GIB and disks["vdb"]["capacity_bytes"] == 3 * GIB
    assert len(stats["interfaces"]) == 1
    assert "merging_pages" in stats["ksm"] or "rmap_items" in stats["ksm"] or stats["ksm"]["reason"]
    again = eventually(lambda: (s := rig.api.get(f"/v1/vms/{linux}/stats").json)["sampled_at"] > stats["sampled_at"]
                       and s, 20, "the next sample")
    assert again["cpu"]["usage_seconds"] >= stats["cpu"]["usage_seconds"] and "usage_percent" in again["cpu"]
    listed = {s["vm_id"]: s for s in rig.api.get("/v1/stats").json["items"]}
    assert listed[linux]["memory"]["maximum_bytes"] == 128 << 20
    metrics = rig.api.get("/metrics").text
    assert re.search(r'drover_vm_\w*resident\w*\{[^}]*vm="?[^}]*linux[^}]*\} \d+', metrics) or linux in metrics


def test_there_is_no_display(linux):
    command = Path(f"/proc/{qemu_pid(linux)}/cmdline").read_bytes().split(b"\0")
    assert command[command.index(b"-display") + 1] == b"none"
    assert b"-vnc" not in command and b"-spice" not in command


def test_pause_and_resume(rig, linux, shell):
    before = uptime(shell)
    rig.act(linux, "pause")
    assert rig.vm(linux)["state"] == "paused"
    shell.send(b"echo pau''sed\n")
    # The guest stands still: its processor time does not grow while another one boots and answers.
    pid = qemu_pid(linux)
    ticks = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    other = rig.create(wait="console")["id"]
    rig.delete(other)
    after = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    assert sum(map(int, after)) - sum(map(int, ticks)) <= 20
    assert b"paused" not in shell.received[shell.seen:]
    rig.act(linux, "resume")
    shell.expect(rb"\npaused")
    shell.expect(PROMPT)
    assert rig.vm(linux)["state"] == "running" and qemu_pid(linux) == pid
    assert uptime(shell) < before + 60


def test_save_and_restore(rig, linux, shell):
    booted, before = boot_id(shell), uptime(shell)
    shell.run("echo kept >/tmp/kept")
    started_at = rig.vm(linux)["started_at"]
    rig.act(linux, "save")
    found = rig.vm(linux)
    assert found["state"] == "saved" and not processes(linux)
    assert shell.until_closed() == 1000
    rig.act(linux, "start")
    found = rig.vm(linux)
    assert found["state"] == "running" and found["state_reason"] == "restored"
    assert found["started_at"] == started_at and not found["pending_changes"]
    # The same boot: the ring still begins with it, and the viewer resumes where it was.
    with rig.console(linux, subprotocols=["drover.console.v1"], from_=len(shell.received)) as c:
        hello = c.control("hello")
        assert hello["oldest"] == 0 and hello["offset"] == len(shell.received)
        c.send(b"\n")
        c.expect(PROMPT)
        assert c.run("cat /tmp/kept") == "kept"
        assert boot_id(c) == booted and before <= uptime(c) < before + 120
    with rig.console(linux, "channels/org.example.0") as channel:
        channel.send(b"after restore")
        channel.expect(b"after restore")


def test_reboot_asks_the_guest(rig, linux, shell):
    start = int(rig.log_raw(linux).header("X-Drover-Next"))
    pid = qemu_pid(linux)
    with rig.console(linux, from_=start) as c:
        c.send(b"\n")
        c.expect(PROMPT)
        booted = boot_id(c)
        rig.act(linux, "reboot")
        c.expect(rb"Welcome to demo")
        c.expect(PROMPT)
        assert boot_id(c) != booted and uptime(c) < 120
    eventually(lambda: rig.events(linux, "vm.rebooted"), 30, "vm.rebooted")
    found = rig.wait_state(linux, "running")
    assert not found["pending_changes"] and qemu_pid(linux) == pid


def test_the_guest_reboots_itself(rig, linux):
    start = int(rig.log_raw(linux).header("X-Drover-Next"))
    before = len(rig.events(linux, "vm.rebooted"))
    with rig.console(linux, from_=start) as c:
        c.send(b"\nreboot\n")
        c.expect(rb"Welcome to demo")
        c.expect(PROMPT)
    eventually(lambda: len(rig.events(linux, "vm.rebooted")) > before, 30, "vm.rebooted")
    assert rig.vm(linux)["state"] == "running"


def test_graceful_shutdown(rig, linux):
    start = int(rig.log_raw(linux).header("X-Drover-Next"))
    with rig.console(linux, from_=start) as c:
        c.send(b"\n")
        c.expect(PROMPT)
        done = rig.act(linux, "shutdown")
        assert done["error"] is None
        assert c.until_closed() == 1000
    found = rig.vm(linux)
    assert found["state"] == "stopped" and found["state_reason"] == "shutdown"
    assert [e["data"]["state"] for e in rig.events(linux, "vm.state")][-2:] == ["stopping", "stopped"]
    assert not processes(linux)


def test_what_was_written_is_there_after_a_restart(rig, linux):
    rig.act(linux, "start")
    with rig.console(linux) as c:
        c.expect(PROMPT)
        assert c.run("head -c 7 /dev/vdb; echo") == "written"
    rig.delete(linux)
    assert rig.api.get(f"/v1/vms/{linux}").status == 404
