"""The embedded driver as a service, as root (deploy/systemd/embedded.conf): no libvirtd, guests under
real KVM, and a daemon that may turn the kernel's KSM knobs."""
import re

import pytest

from host import HostFailed
from installed import SLOW, Installed, eventually
from rig import PROMPT

KSM = "/sys/kernel/mm/ksm"
DROP_IN = "/etc/systemd/system/droverd.service.d"


@pytest.fixture(scope="module")
def embedded(service, host):
    """The service itself, for the tests of this file, with the drop-in and a state directory of its own."""
    host.run(f"""systemctl stop droverd.socket droverd libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket libvirtd
        set -e
        mv /var/lib/drover /var/lib/drover.kept
        cp -p /etc/drover/drover.conf /etc/drover/drover.conf.kept
        mkdir -p {DROP_IN}
        cp /root/drover/deploy/systemd/embedded.conf {DROP_IN}/
        echo 'libvirt_uri =' >/etc/drover/drover.conf
        systemctl daemon-reload
        systemctl start droverd.socket droverd""")
    daemon = Installed(host)
    daemon.wait_ready(SLOW)
    daemon.ensure_image("demo")
    yield daemon
    daemon.tidy(set())
    host.run(f"""systemctl stop droverd.socket droverd
        set -e
        rm -r {DROP_IN} /var/lib/drover
        mv /var/lib/drover.kept /var/lib/drover
        mv /etc/drover/drover.conf.kept /etc/drover/drover.conf
        systemctl daemon-reload
        systemctl start libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket droverd.socket droverd""")
    service.wait_ready()


@pytest.fixture(scope="module")
def linux(embedded):
    return embedded.create(name="linux", wait="console", networks=[{"mode": "user"}])


def test_it_needs_no_libvirtd(embedded, linux):
    info = embedded.api.get("/v1/host").json
    assert info["acceleration"]["mode"] == "kvm" and info["libvirt"]["uri"].startswith("qemu:///embed")
    assert embedded.host.run("systemctl is-active libvirtd", check=False)[1] == "inactive"
    vm = embedded.vm(linux["id"])
    assert (vm["state"], vm["effective_acceleration"]) == ("running", "kvm")
    with embedded.console(linux["id"], timeout=SLOW) as c:
        c.expect(PROMPT, SLOW)
        assert "KVM" in c.run("dmesg | grep Hypervisor")


def test_a_guest_outlives_the_daemon(embedded, linux):
    pid = embedded.qemu_pid(linux["id"])
    for end in ("systemctl restart droverd", "systemctl kill --kill-whom=main -s KILL droverd"):
        with embedded.console(linux["id"], subprotocols=["drover.console.v1"], timeout=SLOW) as c:
            c.control("hello")
            c.send(b"\n")
            c.expect(PROMPT, SLOW)
            embedded.host.run(end)
            try:
                assert c.until_closed() in (1001, 1012)
            except ConnectionError:
                assert "KILL" in end
        embedded.wait_ready()
        eventually(lambda: embedded.vm(linux["id"])["state"] == "running", 120, "running", every=0.5)
        assert embedded.qemu_pid(linux["id"]) == pid
        log = embedded.log_raw(linux["id"])
        with embedded.console(linux["id"], from_=log.header("X-Drover-Next"), timeout=SLOW) as c:
            c.send(b"echo al''ive\n")
            c.expect(b"\nalive", SLOW)
    embedded.host.run("systemctl reset-failed droverd")


def test_root_sets_the_knobs_and_reads_what_each_vm_merges(embedded, linux, host):
    other = embedded.create(name="other", wait="console")
    assert embedded.api.patch("/v1/ksm", {"tuner": {"mode": "off"}}).status == 200  # it puts back what it found
    before = {name: host.run(f"cat {KSM}/{name}") for name in ("run", "pages_to_scan", "sleep_millisecs")}
    answer = embedded.api.patch("/v1/ksm", {"knobs": {"pages_to_scan": 5000, "sleep_millisecs": 20, "run": 1}})
    assert answer.status == 200 and host.run(f"cat {KSM}/run {KSM}/pages_to_scan").split() == ["1", "5000"], answer
    try:
        def merged():
            figures = [embedded.ksm(vm["id"]) for vm in (linux, other)]
            return figures if all(f.get("merging_pages", 0) > 1000 for f in figures) else None
        figures = eventually(merged, SLOW, "merged pages in both", every=1)
        for vm, figure in zip((linux, other), figures):
            assert figure["merging_bytes"] == figure["merging_pages"] * 4096 and "reason" not in figure
            pid = embedded.qemu_pid(vm["id"])
            assert re.search(r"ksm_rmap_items \d+", host.run(f"cat /proc/{pid}/ksm_stat"))
        assert embedded.api.patch("/v1/ksm", {"knobs": {"run": 0}}).status == 200
        kernel = {vm["id"]: int(host.run(f"cat /proc/{embedded.qemu_pid(vm['id'])}/ksm_merging_pages"))
                  for vm in (linux, other)}
        eventually(lambda: all(embedded.ksm(vm).get("merging_pages") in range(pages * 9 // 10, pages * 11 // 10 + 1)
                               for vm, pages in kernel.items()),
                   60, f"the kernel's figures: {kernel}", every=1)
    finally:
        for name, value in before.items():
            host.run(f"echo {2 if name == 'run' else value} >{KSM}/{name}")


def test_it_leaves_nothing_behind(embedded, linux):
    embedded.act(linux["id"], "stop", seconds=SLOW)
    embedded.delete(linux["id"])
    with pytest.raises(HostFailed):
        embedded.host.run("pgrep -f '^[^ ]*qemu-system.*guest=linux'")
    assert embedded.host.run(f"ls {embedded.state}/vms") == ""
