"""The host boots again, and everybody who was attached comes back at the same moment."""
import http.client
import os
import shutil
import signal
import threading
import time
import uuid
from pathlib import Path

import guests
import pytest
from api_client import Client
from daemon import eventually
from invariants import events_are_gapless, quiet, unsuccessful, vms
from test_consoles import Viewer, enough_descriptors  # noqa: F401 (a fixture)
from test_host_stop import bootable
from test_qemu_faults import QEMU, processes
from websocket import Refused

GREETING = b"Nothing to do.\r\n"
PAUSE_MAX = 0.5
GONE = (OSError, http.client.HTTPException, AssertionError, Refused)
MANY = {"max_connections": 4000, "max_connections_per_address": 4000, "console_viewers": 1000, "autostart_wave": 8}
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs a mount namespace")


class Herd:
    """Threads that come back at once, again and again, until they have seen what they wait for."""

    def __init__(self, daemon):
        self.daemon, self.token, self.over = daemon, daemon.admin_token(), threading.Event()
        self.threads, self.streams, self.consoles = [], [], []

    def follow(self, count):
        for _ in range(count):
            self.streams.append([])
            self._start(self._stream, self.streams[-1])

    def look(self, ids):
        for number, vm in enumerate(ids):
            self.consoles.append({"data": b"", "vm": vm, "number": number, "boots": set()})
            self._start(self._console, self.consoles[-1])

    def _start(self, what, argument):
        self.threads.append(threading.Thread(target=self._again, args=(what, argument), daemon=True))
        self.threads[-1].start()

    def _again(self, what, argument):
        pause = 0.01
        while not self.over.is_set():
            try:
                what(argument)
            except GONE:
                pass
            # As clients do: each attempt at a guest that is off is two events for everybody who follows.
            self.over.wait(pause)
            pause = min(2 * pause, PAUSE_MAX)

    def _stream(self, seen):
        api = Client(self.daemon.url, self.token)
        last = {"headers": {"Last-Event-ID": str(seen[-1])}} if seen else {"since": 0}
        for number, event in api.sse(**last):
            if event["type"] == "resync":  # this one was too slow: it asks for what it has not seen
                return
            seen.append(int(number))
            if self.over.is_set():
                return

    def _console(self, console):
        viewer = Viewer(self.daemon, console["vm"], self.token, 2 * console["number"] + 1)
        console["socket"] = viewer.socket.socket
        while viewer.receive():
            console["data"] = viewer.data

    def end(self):
        self.over.set()
        for console in self.consoles:
            if "socket" in console:
                console["socket"].close()


def slowest_answer(daemon, until, seconds):
    """/livez all the while; returns how long its slowest answer took."""
    api, slowest, end = Client(daemon.url, daemon.admin_token()), 0.0, time.monotonic() + seconds
    while not until():
        start = time.monotonic()
        assert api.get("/livez").status == 200
        slowest = max(slowest, time.monotonic() - start)
        assert start < end, "it takes too long"
    return slowest


def empty_run(daemon):
    """What a boot does to /run: the short name of the daemon's root is gone."""
    for link in Path("/run/drover").glob("*"):
        if link.is_symlink() and str(link.resolve()).startswith(str(daemon.state_dir)):
            link.unlink()


@pytest.mark.skipif(not shutil.which(QEMU), reason=f"{QEMU} is not installed")
def test_a_boot_of_the_host_with_everybody_waiting(make_daemon, tmp_path, long):
    machines, streams, viewers = (20, 500, 500) if long > 1 else (6, 50, 50)
    boot_id, wrapper = bootable(tmp_path)
    daemon = make_daemon(libvirt="", settings=MANY, wrapper=wrapper).start()
    herd = None
    try:
        api = daemon.client()
        sector = guests.write(daemon.state_dir / "guests", ["idle"], mib=1)["idle"]
        assert api.post("/v1/images", {"name": "idle", "kind": "disk", "format": "raw"}).status == 201
        assert api.put("/v1/images/idle/content", sector.read_bytes()).status == 200
        ids = []
        for number in range(machines):
            made = api.post("/v1/vms", {"name": f"vm-{number}", "image": "idle", "memory_mib": 16, "networks": [],
                                        "vsock": False, "autostart": True, "start": True})
            assert made.status == 201, made
            ids.append(made.json["id"])
        made = api.post("/v1/vms", {"name": "plain", "image": "idle", "memory_mib": 16, "networks": [],
                                    "vsock": False, "start": True})
        plain = f"/v1/vms/{made.json['id']}"
        quiet(api, 600)
        assert api.get(plain).json["state"] == "running"
        herd = Herd(daemon)
        herd.follow(streams)
        herd.look(ids[i % machines] for i in range(viewers))
        eventually(lambda: all(GREETING in c["data"] for c in herd.consoles) and all(herd.streams), 120,
                   "everybody's being attached")

        daemon.kill9()
        for pid in processes(str(daemon.state_dir)):
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: not processes(str(daemon.state_dir)), 60, "the end of all guests")
        empty_run(daemon)
        boot_id.write_text(f"{uuid.uuid4()}\n")
        for console in herd.consoles:
            console["data"] = b""
        began = time.monotonic()
        daemon.start()
        ready = time.monotonic() - began
        api = daemon.client()
        slowest = slowest_answer(daemon, lambda: sum(v["state"] == "running" for v in vms(api)) >= machines, 60 + 3 * machines)
        running = time.monotonic() - began
        # Everybody is back: the greeting of the new boot on each console, each event once and in order.
        eventually(lambda: all(GREETING in c["data"] for c in herd.consoles), 120, "the consoles of the new boot")
        quiet(api, 120)
        last = events_are_gapless(api)[-1]["seq"]
        eventually(lambda: all(s and s[-1] >= last for s in herd.streams), 120, "all streams' being at the end")
        for seen in herd.streams:
            wrong = [seen[max(at - 2, 0):at + 3] for at in range(1, len(seen)) if seen[at] != seen[at - 1] + 1]
            assert not wrong, f"a hole, or something twice: {wrong}"
        assert not unsuccessful(api)
        ended = api.get(plain).json
        assert (ended["state"], ended["state_reason"]) == ("stopped", "the host went down")
        print(f"{machines} VMs, {streams} streams, {viewers} consoles: ready after {ready:.2f} s, all running after "
              f"{running:.1f} s, the slowest /livez {slowest * 1000:.0f} ms")
        assert slowest < 2, "it answers meanwhile"
    finally:
        if herd:
            herd.end()
        if daemon.process:
            api = daemon.client()
            for vm in vms(api):
                api.delete(f"/v1/vms/{vm['id']}", force=True, wait=60, patience=90)
        daemon.close()
        for pid in processes(str(daemon.state_dir)):
            os.kill(pid, signal.SIGKILL)


def test_many_start_by_themselves_while_everybody_follows(libvirtd, make_daemon, tmp_path, long):
    """On libvirt's test driver, whose guests are as many as one likes."""
    machines, streams = (200, 500) if long > 1 else (40, 50)
    boot_id, wrapper = bootable(tmp_path)
    daemon = make_daemon(libvirt=libvirtd.uri, settings=MANY, wrapper=wrapper).start()
    herd = None
    try:
        api = daemon.client()
        for number in range(machines):
            made = api.post("/v1/vms", {"name": f"vm-{number}", "memory_mib": 16, "networks": [], "vsock": False,
                                        "autostart": True, "start": True})
            assert made.status == 201, made
        quiet(api, 120)
        herd = Herd(daemon)
        herd.follow(streams)
        eventually(lambda: all(herd.streams), 120, "everybody's being attached")
        daemon.kill9()
        domains = libvirtd.domains()
        libvirtd.kill9()
        libvirtd.start(shown=False)
        for xml in domains.values():
            libvirtd.define(xml)
        libvirtd.show()
        boot_id.write_text(f"{uuid.uuid4()}\n")
        began = time.monotonic()
        daemon.start()
        ready = time.monotonic() - began
        api = daemon.client()
        slowest = slowest_answer(daemon, lambda: all(v["state"] == "running" for v in vms(api)), 120)
        running = time.monotonic() - began
        quiet(api, 120)
        events = events_are_gapless(api)
        ended = [e["data"]["reason"] for e in events if e["type"] == "vm.state" and e["data"]["state"] == "stopped"]
        assert ended == ["the host went down"] * machines
        eventually(lambda: all(s[-1] >= events[-1]["seq"] for s in herd.streams), 120, "all streams' being at the end")
        for seen in herd.streams:
            assert seen == list(range(seen[0], seen[0] + len(seen))), "a hole, or something twice"
        print(f"{machines} VMs, {streams} streams: ready after {ready:.2f} s, all running after {running:.1f} s, "
              f"the slowest /livez {slowest * 1000:.0f} ms")
    finally:
        if herd:
            herd.end()
