"""Linux guests under real KVM through qemu:///system: console, figures, merging, and a daemon that
goes and comes back under them. The tests of this file share two guests."""
import re

import pytest

from host import HostFailed
from installed import SLOW, eventually
from rig import PROMPT
from websocket import Refused

V1 = ["drover.console.v1"]
KSM = "/sys/kernel/mm/ksm"


@pytest.fixture(scope="module")
def linux(service):
    return service.create(name="linux", channels=["org.example.0"], wait="console", networks=[{"mode": "user"}],
                          disks=[{"size_gib": 1}])


@pytest.fixture(scope="module")
def second(service):
    return service.create(name="second", wait="console")


@pytest.fixture(scope="module")
def shell(service, linux):
    """One viewer from power-on; a test that ends it opens another."""
    with service.console(linux["id"], timeout=SLOW) as c:
        c.expect(PROMPT, SLOW)
        yield c


def boot_id(shell):
    return shell.run("cat /proc/sys/kernel/random/boot_id")


def test_it_runs_under_kvm(service, linux, shell):
    vm = service.vm(linux["id"])
    assert (vm["state"], vm["effective_acceleration"], vm["acceleration_reason"]) == ("running", "kvm", "")
    assert "Hypervisor detected: KVM" in shell.run("dmesg | grep Hypervisor")
    assert shell.run("echo $((6 * 7))") == "42"
    pid = service.qemu_pid(linux["id"])
    assert service.host.run(f"ps -o user= -p {pid}") == "libvirt-qemu"
    # Guests are the machine manager's, not the service's: they outlive it.
    assert "machine.slice" in service.host.run(f"cat /proc/{pid}/cgroup")
    assert linux["id"][:8] in service.host.run("virsh -c qemu:///system list --uuid")


def test_the_console_begins_with_the_first_byte_and_nothing_is_lost(service, linux, shell):
    shell.run("seq 1 3000 | md5sum; seq 1 3000")
    raw = service.log_raw(linux["id"])
    assert raw.header("X-Drover-Oldest") == "0"
    with service.console(linux["id"], subprotocols=V1, from_=0, timeout=SLOW) as c:
        assert c.control("hello")["oldest"] == 0
        while len(c.received) < len(raw.body):
            assert c.receive()
        assert c.received.startswith(raw.body)
    assert b"\r\n".join(b"%d" % n for n in range(1, 3001)) in raw.body


def test_who_watches_cannot_type(service, linux, shell):
    with service.console(linux["id"], mode="view", from_=len(shell.received), timeout=SLOW) as view:
        view.send(b"echo FORBIDDEN\n")
        assert shell.run("echo allowed") == "allowed"
        view.expect(b"allowed")
        assert b"FORBIDDEN" not in view.received


def test_its_disk_is_there_and_only_its_user_can_read_it(service, linux, shell):
    assert int(shell.run("cat /sys/block/vda/size")) * 512 == 1 << 30
    shell.run("echo written >/dev/vda && sync")  # short: the shell breaks long lines
    assert shell.run("head -c 7 /dev/vda") == "written"
    assert not service.host.succeeds(f"runuser -u nobody -- cat {service.state}/vms/{linux['id']}/disk-0.qcow2")


def test_the_channel_echoes(service, linux, shell):
    with service.console(linux["id"], "channels/org.example.0", timeout=SLOW) as c:
        c.send(b"to and fro")
        c.expect(b"to and fro")


def test_figures_are_the_kernels(service, linux, shell):
    def sample():
        found = service.api.get(f"/v1/vms/{linux['id']}/stats").json
        return found if found.get("cpu", {}).get("usage_seconds", 0) > 0 and not found["stale"] else None
    stats = eventually(sample, 60, "a sample", every=0.5)
    rss = int(re.search(r"VmRSS:\s+(\d+)", service.host.run(f"cat /proc/{service.qemu_pid(linux['id'])}/status"))[1])
    assert 0.5 * rss < stats["memory"]["resident_bytes"] / 1024 < 2 * rss
    assert [d["name"] for d in stats["disks"]] == ["vda"] and len(stats["interfaces"]) == 1
    # The service is no root: what it may not read is absent, with the reason.
    assert "merging_pages" in stats["ksm"] or stats["ksm"]["reason"]


def test_the_daemon_restarts_under_a_guest_and_a_viewer(service, linux, shell):
    """The guest neither stops nor notices; the viewer resumes at its byte; what was typed once is
    there once."""
    booted, pid = boot_id(shell), service.qemu_pid(linux["id"])
    with service.console(linux["id"], subprotocols=V1, from_=len(shell.received), timeout=SLOW) as c:
        before = c.control("hello")
        assert c.run("echo kept >/run/kept; echo before") == "before"
        service.systemctl("restart")
        assert c.until_closed() in (1001, 1012)
        offset = before["offset"] + len(c.received)
    service.wait_ready()
    eventually(lambda: service.vm(linux["id"])["state"] == "running", 60, "running", every=0.5)
    with service.console(linux["id"], subprotocols=V1, from_=offset, timeout=SLOW) as c:
        after = c.control("hello")
        assert after["oldest"] == 0 and after["offset"] == offset
        c.send(b"\n")
        c.expect(PROMPT, SLOW)
        assert c.run("cat /run/kept") == "kept" and boot_id(c) == booted
    assert service.qemu_pid(linux["id"]) == pid
    assert b"before" in service.log_raw(linux["id"]).body


def test_guests_outlive_a_killed_daemon_and_libvirtd(service, linux):
    pid = service.qemu_pid(linux["id"])
    with service.console(linux["id"], subprotocols=V1, timeout=SLOW) as c:
        hello = c.control("hello")
        service.host.run(f"kill -KILL {service.pid()}")
        with pytest.raises(ConnectionError):
            c.until_closed()
    service.wait_ready()
    service.host.run("systemctl kill -s KILL libvirtd")

    def again():
        try:
            service.wait_ready()
            with service.console(linux["id"], from_=hello["next"], timeout=20) as c:
                c.send(b"echo al''ive\n")
                c.expect(b"\nalive", 20)
                return True
        except (OSError, AssertionError, Refused): # as long as libvirt is not back
            return False
    eventually(again, SLOW, "the console of the same guest", every=1)
    assert service.qemu_pid(linux["id"]) == pid
    service.host.run("systemctl reset-failed droverd libvirtd", check=False)


def test_equal_memory_is_merged(service, linux, second):
    """ksmd merges two guests of the same image, and /v1/ksm says what the kernel says."""
    with service.console(second["id"], timeout=SLOW) as c:
        c.expect(PROMPT, SLOW)
    host = service.host
    host.run(f"echo 5000 >{KSM}/pages_to_scan; echo 20 >{KSM}/sleep_millisecs; echo 1 >{KSM}/run")
    try:
        saved = eventually(lambda: (k := service.api.get("/v1/ksm").json)["saved_bytes"] > (16 << 20) and k, SLOW,
                           "16 MiB saved", every=1)
        assert saved["counters"]["pages_sharing"] * saved["page_size_bytes"] == saved["saved_bytes"]
        assert saved["knobs"]["run"] == 1 and saved["ksmd_cpu_seconds"] > 0
        host.run(f"echo 0 >{KSM}/run")
        eventually(lambda: service.api.get("/v1/ksm").json["counters"]["pages_sharing"] ==
                   int(host.run(f"cat {KSM}/pages_sharing")), 60, "the kernel's figure", every=0.5)
        assert re.search(r"ksm_pages_sharing\S* \d+", service.api.get("/metrics").text)
    finally:
        host.run(f"echo 2 >{KSM}/run; echo 100 >{KSM}/pages_to_scan")


def test_the_unprivileged_daemon_has_ksm_through_its_helper(service, linux, second):
    """The knobs and each VM's merged pages, and still no root and no capability."""
    host = service.host
    assert host.run(f"ps -o user= -p {service.pid()}") == "drover"
    answer = service.api.patch("/v1/ksm", {"tuner": {"mode": "off"},
                                           "knobs": {"pages_to_scan": 5000, "sleep_millisecs": 20, "run": 1}})
    try:
        assert answer.status == 200 and host.run(f"cat {KSM}/run {KSM}/pages_to_scan").split() == ["1", "5000"], answer
        eventually(lambda: all(service.ksm(vm["id"]).get("merging_pages", 0) > 1000 for vm in (linux, second)), SLOW,
                   "merged pages in both", every=1)
    finally:
        host.run(f"echo 2 >{KSM}/run; echo 100 >{KSM}/pages_to_scan")
        assert service.api.patch("/v1/ksm", {"tuner": {"mode": "auto"}}).status == 200


def test_the_tuner_turns_the_knobs_through_the_helper(service, linux, second):
    """As it is installed: nobody turns anything on, and the guests merge."""
    host = service.host
    tuner = eventually(lambda: (t := service.api.get("/v1/ksm").json["tuner"])["found"] and t, 60, "the tuner's turn", every=1)
    assert tuner["mode"] == "auto" and host.run(f"cat {KSM}/run") == "1", tuner
    eventually(lambda: all(service.ksm(vm["id"]).get("merging_pages", 0) > 1000 for vm in (linux, second)), SLOW,
               "merged pages in both", every=1)


def test_without_the_helper_it_may_not_and_says_so(service, linux):
    host = service.host
    host.run("systemctl disable --now drover-ksm.socket && systemctl stop drover-ksm.service && systemctl restart droverd")
    try:
        service.wait_ready()
        before = host.run(f"cat {KSM}/run")
        refused = service.api.patch("/v1/ksm", {"tuner": {"mode": "off"}, "knobs": {"run": 1 - int(before) % 2}})
        assert refused.status == 403 and "tee" in refused.json["remedy"], refused
        tuner = service.api.get("/v1/ksm").json["tuner"]
        assert host.run(f"cat {KSM}/run") == before and tuner["mode"] == "auto", tuner
        ksm = eventually(lambda: service.ksm(linux["id"]), 60, "figures", every=0.5)
        assert "merging_pages" not in ksm and ksm["reason"], ksm
    finally:
        host.run("systemctl enable --now drover-ksm.socket && systemctl restart droverd")
    service.wait_ready()


def test_merging_can_be_kept_off(service):
    """A guest with memory_merge off gives ksmd nothing to look at."""
    vm = service.create(name="apart", memory_merge=False, wait="running")
    pid = service.qemu_pid(vm["id"])
    assert not re.search(r"^VmFlags:.*\bmg\b", service.host.run(f"cat /proc/{pid}/smaps"), re.M)


def test_a_guest_that_powers_off_is_stopped(service, second):
    with service.console(second["id"], timeout=SLOW) as c:
        c.send(b"\n")
        c.expect(PROMPT, SLOW)
        c.send(b"poweroff\n")
        assert c.until_closed() == 1000
    service.wait_state(second["id"], "stopped", seconds=SLOW)


def test_shutdown_save_and_delete(service, linux):
    service.act(linux["id"], "save", seconds=SLOW)
    assert service.vm(linux["id"])["state"] == "saved"
    service.act(linux["id"], "start", seconds=SLOW)
    with service.console(linux["id"], timeout=SLOW) as c:
        c.send(b"echo resto''red\n")
        c.expect(rb"\nrestored", SLOW)
    service.act(linux["id"], "shutdown", seconds=SLOW)
    assert service.vm(linux["id"])["state"] == "stopped"
    service.delete(linux["id"])
    assert not service.host.succeeds(f"ls {service.state}/vms/{linux['id']}")
    with pytest.raises(HostFailed):
        service.host.run(f"virsh -c qemu:///system domid {linux['id']}")
