"""The Debian package: what upgrading, downgrading, removing and purging it leave. The last of the files here:
the service is gone for moments."""
import re
import subprocess
import threading
import time

import pytest

from installed import SLOW, another_version, built, eventually, install
from rig import PROMPT
from websocket import Refused

UNITS = ("droverd.service", "droverd.socket", "drover-ksm.socket")
V1 = ["drover.console.v1"]
LINE = re.compile(rb"line-(\d+)-end\r\n")
COUNT = b"n=0; while :; do echo line-$n-end; n=$((n+1)); usleep 200000; done\n"
AWAY_SECONDS = 2  # for which a restart may keep a viewer away, times what emulation costs
RESTARTS = []  # of the daemon under the guest that counts: each of them is a hole in what it printed
LOOP = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"
FOREIGN = "<domain type='qemu'><name>foreign</name><memory>16384</memory><os><type arch='x86_64'>hvm</type></os>" \
    "<devices><disk type='file'><source file='/srv/foreign.raw'/><target dev='vda'/></disk></devices></domain>"


class Viewer(threading.Thread):
    """Reads a console from its first byte on, and comes back at its byte when the stream ends; again, as the contract
    has it, where it is told to try later: a daemon listens before it has reached libvirt. gaps: what it was told that
    nobody can have heard."""

    def __init__(self, service, vm):
        super().__init__(daemon=True)
        self.service, self.vm = service, vm
        self.bytes, self.offset, self.gaps = b"", 0, []
        self.away, self.errors, self.done = [], [], threading.Event()

    def run(self):
        lost = None
        while not self.done.is_set():
            try:
                with self.service.console(self.vm, subprotocols=V1, from_=self.offset, timeout=SLOW) as c:
                    hello, before, start = c.control("hello"), self.bytes, self.offset
                    if hello["offset"] != start:
                        self.errors.append(f"it is at {start}, and told {hello}")
                    if lost:
                        self.away.append(time.monotonic() - lost)
                    while c.receive() and not self.done.is_set():
                        self.gaps += (new := [m for m in c.controls if m["type"] == "gap"])
                        c.controls = [m for m in c.controls if m["type"] != "gap"]
                        start += sum(gap["to"] - gap["from"] for gap in new)
                        self.bytes, self.offset = before + c.received, start + len(c.received)
                    if not self.done.is_set() and c.socket.close_code not in (1001, 1012):
                        self.errors.append(f"closed with {c.socket.close_code}")
            except Refused as refused:
                if lost and refused.status == 503 and "retry-after" in refused.headers:
                    self.done.wait(0.2)
                    continue  # it is away since it was lost
                self.errors.append(repr(refused))
            except OSError as error:
                self.errors.append(repr(error))
            if self.errors:
                return
            lost = time.monotonic()

    def numbers(self):
        return [int(n) for n in LINE.findall(self.bytes)]


def slowness(host):
    """How many times longer the host takes for the same work."""
    def took(run):
        started = time.monotonic()
        run()
        return time.monotonic() - started
    ready = took(lambda: host.run("true"))
    there = took(lambda: host.run(LOOP)) - ready
    return max(1, there / took(lambda: subprocess.run(["bash", "-c", LOOP], check=True)))


@pytest.fixture(scope="module")
def counting(service):
    """A guest that prints numbered lines for ever."""
    vm = service.create(name="counting", wait="console")["id"]
    with service.console(vm, timeout=SLOW) as c:
        c.expect(PROMPT, SLOW)
        c.send(COUNT)
        c.expect(rb"line-3-end", SLOW)
    return vm


@pytest.mark.parametrize("way", ["up", "down"])
def test_another_version_restarts_the_daemon_and_no_guest(service, host, counting, way, tmp_path):
    """The guest goes on, the sockets stay, and who watches misses nothing but what the guest printed while no daemon
    ran, of which it is told."""
    guest, daemon = service.qemu_pid(counting), service.pid()
    RESTARTS.append(way)
    listening = host.run("systemctl show -P ActiveEnterTimestamp droverd.socket")
    assert listening, "connections come through the socket unit"
    service.address  # the tunnel is there before the thread is
    viewer = Viewer(service, counting)
    viewer.start()
    eventually(lambda: len(viewer.numbers()) > 3, SLOW, "numbered lines", every=0.5)
    version = host.run("dpkg-query -W -f '${Version}' drover")
    said = install(host, another_version(version + "+newer", tmp_path) if way == "up" else built())
    assert ("downgrading" in said) == (way == "down"), said
    assert (host.run("dpkg-query -W -f '${Version}' drover") == version + "+newer") == (way == "up")
    eventually(lambda: service.pid() not in (0, daemon), 120, "another daemon", every=0.5)
    service.wait_ready()
    assert service.qemu_pid(counting) == guest
    assert host.run("systemctl show -P ActiveEnterTimestamp droverd.socket") == listening
    assert host.succeeds("systemctl is-active drover-guests"), "its stop would have shut down the guests"
    count = len(viewer.numbers())
    eventually(lambda: viewer.errors or len(viewer.numbers()) > count + 5, SLOW, "more lines", every=0.5)
    viewer.done.set()
    viewer.join(SLOW)
    assert not viewer.errors, viewer.errors
    numbers = viewer.numbers()
    holes = [(a, b) for a, b in zip(numbers, numbers[1:]) if b != a + 1]
    assert numbers[0] == 0 and len(holes) <= len(RESTARTS) and numbers == sorted(numbers), holes
    assert {gap["reason"] for gap in viewer.gaps} == {"restart"} and len(viewer.gaps) <= len(RESTARTS), viewer.gaps
    times = slowness(host)
    print(f"away for {viewer.away} s; the host is {times:.1f} times slower")
    assert len(viewer.away) == 1 and viewer.away[0] < AWAY_SECONDS * times, (viewer.away, times)


def test_removing_it_keeps_everything(service, host):
    """And the next installation finds it: definitions, guests, images, tokens."""
    service.create(name="survives", wait="running")
    service.create(name="rests", start=False, disks=[{"size_gib": 1}])
    pid, token = service.qemu_pid(service.vm("survives")["id"]), service.admin_token()
    before = {vm["id"]: vm["state"] for vm in service.api.get("/v1/vms").json["items"]}
    domains = host.run("virsh list --all --name | sort")
    host.run("dpkg -r drover")
    assert all(not host.succeeds(f"systemctl is-active {unit}") for unit in UNITS)
    assert not host.succeeds("command -v droverd drover") and host.succeeds("test -e /var/lib/drover/drover.db")
    assert host.succeeds(f"kill -0 {pid}"), "a guest goes on"
    assert host.run("virsh list --all --name | sort") == domains
    install(host)
    service.wait_ready()
    assert all(host.succeeds(f"systemctl is-enabled {unit} && systemctl is-active {unit}") for unit in UNITS)
    assert host.run("cat /var/lib/drover/admin.token") == token
    assert {vm["id"]: vm["state"] for vm in service.api.get("/v1/vms").json["items"]} == before
    assert service.qemu_pid(service.vm("survives")["id"]) == pid
    assert service.api.get("/v1/images/demo").json["state"] == "ready"
    service.act("rests", "start", seconds=SLOW)
    service.act("rests", "stop", seconds=SLOW)
    for vm in ("survives", "rests"):
        service.delete(vm)


@pytest.fixture
def foreign(host):
    """A domain that is somebody else's, and its disk."""
    host.run("head -c 65536 /dev/urandom >/srv/foreign.raw")
    host.write("/srv/foreign.xml", FOREIGN)
    host.run("virsh define /srv/foreign.xml")
    yield lambda: host.run("virsh dumpxml --inactive foreign; sha256sum /srv/foreign.raw")
    host.run("virsh undefine foreign; rm /srv/foreign.*")


def test_purging_it_keeps_peoples_disks(service, host, foreign):
    """As long as a VM is left, a purge takes the settings only. Its disks are somebody's."""
    before = foreign()
    vm = service.create(name="somebodys", start=False, disks=[{"size_gib": 1}])["id"]
    said = host.run("dpkg -P drover")
    try:
        assert "stay in /var/lib/drover" in said
        assert not host.succeeds("test -e /etc/drover") and host.succeeds("test -e /var/lib/drover/drover.db")
        assert host.succeeds(f"test -s /var/lib/drover/vms/{vm}/disk-0.qcow2")
        assert host.succeeds(f"virsh dominfo {vm}") and foreign() == before
    finally:
        install(host)
        service.wait_ready()
    assert service.vm("somebodys")["id"] == vm
    service.delete("somebodys")


def test_purging_it_without_a_vm_leaves_nothing(service, host, counting, foreign):
    before = foreign()
    service.delete(counting)
    assert service.api.get("/v1/vms").json["items"] == []
    said = host.run("dpkg -P drover")
    try:
        assert "stay in" not in said
        left = host.run("find / -xdev -path /proc -prune -o -path '*drover*' -print", check=False)[1]
        # The tests' own; libvirt's; and what systemd keeps for the unit whose stop would have shut guests down.
        known = re.compile(r"/root/|/var/lib/libvirt/qemu/|(/var)?/tmp/systemd-private-")
        assert [path for path in left.splitlines() if not known.match(path)] == [], left
        assert host.run("virsh list --all --name").split() == ["foreign"] and foreign() == before
    finally:
        install(host)
        service.token = None
        service.wait_ready()
    assert service.api.get("/v1/vms").json["items"] == []
