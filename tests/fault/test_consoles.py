"""Many viewers at the moment the daemon ends: killed, told to stop, and what they find when they come back."""
import json
import os
import resource
import shutil
from pathlib import Path

import guests
import pytest
from daemon import eventually
from websocket import WebSocket

QEMU = "qemu-system-x86_64"
HELLO = b"Hello from the boot sector. I echo.\r\n"
VIEWERS = 500 if os.environ.get("DROVER_TEST_LONG") else 100
SETTINGS = {"console_viewers": 1000, "max_connections": 2000, "max_connections_per_address": 2000}
pytestmark = pytest.mark.skipif(not shutil.which(QEMU), reason=f"{QEMU} is not installed")


def descriptors(pid):
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def resident_kib(pid):
    return next(int(line.split()[1]) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
                if line.startswith("VmRSS:"))


@pytest.fixture(autouse=True)
def enough_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def echo(make_daemon):
    """A daemon and a guest that echoes."""
    daemon = make_daemon(libvirt="", settings=SETTINGS)
    daemon.start()
    api = daemon.client()
    sector = guests.write(daemon.state_dir / "guests", ["hello"], mib=1)["hello"]
    assert api.post("/v1/images", {"name": "hello", "kind": "disk", "format": "raw"}).status == 201
    assert api.put("/v1/images/hello/content", sector.read_bytes()).status == 200
    made = api.post("/v1/vms", {"name": "echo", "image": "hello", "memory_mib": 16, "acceleration": "emulated",
                                "networks": [], "start": True}, wait="console", timeout=120, patience=150)
    assert made.status == 201, made
    yield daemon, made.json["id"]
    if daemon.process:
        daemon.client().delete(f"/v1/vms/{made.json['id']}", force=True, wait=60, patience=90)


class Viewer:
    """One of many: raw, or drover.console.v1; knows the offset of the next byte."""

    def __init__(self, daemon, vm, token, number, offset=None):
        self.v1, self.number, self.offset = number % 2 == 1, number, offset or 0
        self.data, self.gaps, self.hello = b"", [], None
        query = f"?from={offset}" if offset is not None else ""
        self.socket = WebSocket(f"ws://{daemon.address}/v1/vms/{vm}/console{query}", timeout=60,
                                headers={"Authorization": f"Bearer {token}"},
                                subprotocols=["drover.console.v1"] if self.v1 else ())

    def receive(self):
        """False at the end."""
        message = self.socket.receive()
        if not message:
            return False
        if message[0] == 1:
            control = json.loads(message[1])
            if control["type"] == "hello":
                self.hello = control
            elif control["type"] == "gap":
                self.gaps.append(control)
                self.offset = control["to"]
        else:
            self.data += message[1]
            self.offset += len(message[1])
        return True

    def until(self, text):
        while text not in self.data:
            assert self.receive(), f"viewer {self.number} was closed with {self.socket.close_code}"

    def until_gone(self):
        """The close code, or None for a connection that broke off."""
        try:
            while self.receive():
                pass
        except OSError:
            return None
        return self.socket.close_code


def attach(daemon, vm, offsets=None):
    token = daemon.admin_token()
    return [Viewer(daemon, vm, token, i, offsets[i] if offsets else None) for i in range(VIEWERS)]


def next_offset(daemon, vm):
    return int(daemon.client().get(f"/v1/vms/{vm}/console/log", format="raw").header("X-Drover-Next"))


@pytest.mark.parametrize("end, code", [("kill9", None), ("stop", 1001)])
def test_viewers_of_a_daemon_that_ends_go_on_from_their_offsets(echo, end, code):
    daemon, vm = echo
    quiet = descriptors(daemon.pid)
    viewers = attach(daemon, vm)
    for viewer in viewers:
        viewer.until(HELLO)
    viewers[0].socket.send(b"<before>")
    for viewer in viewers:
        viewer.until(b"<before>")
    assert daemon.client().get(f"/v1/vms/{vm}").json["state"] == "running"
    getattr(daemon, end)()
    assert {viewer.until_gone() for viewer in viewers} == {code}
    for viewer in viewers:
        viewer.socket.socket.close()

    daemon.start()
    eventually(lambda: daemon.client().get(f"/v1/vms/{vm}").json["state"] == "running", 30, "the guest to be adopted")
    again = attach(daemon, vm, [viewer.offset for viewer in viewers])
    again[0].socket.send(b"<after>")
    for viewer in again:
        viewer.until(b"<after>")
        assert viewer.data == b"<after>", f"{viewer.number}: nothing twice, nothing of before: {viewer.data}"
    end_of_log = next_offset(daemon, vm)
    for viewer in again[1::2]:
        # What the guest may have said meanwhile is a gap, told once, and offsets agree. A daemon that was
        # killed may not have written its last words, and then they are "evicted".
        assert len(viewer.gaps) == 1, viewer.gaps
        assert viewer.gaps[0]["reason"] in (["restart"] if code else ["restart", "evicted"]), viewer.gaps
        assert viewer.offset == end_of_log
    for viewer in again:
        viewer.socket.close()
    eventually(lambda: descriptors(daemon.pid) <= quiet + 3, 30, "the descriptors' being given back")


def test_viewers_that_come_and_go_leave_nothing(echo):
    """By closing, by vanishing, and by a reset; the same many once more need no more memory."""
    daemon, vm = echo
    quiet = descriptors(daemon.pid)
    memory = []
    for _ in range(4):
        viewers = attach(daemon, vm)
        for viewer in viewers:
            viewer.until(HELLO)
        memory.append(resident_kib(daemon.pid))
        for viewer in viewers:
            if viewer.number % 3 == 0:
                viewer.socket.close()
            elif viewer.number % 3 == 1:
                viewer.socket.socket.close()
            else:
                viewer.socket.socket.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER: a reset
                viewer.socket.socket.close()
        eventually(lambda: descriptors(daemon.pid) <= quiet + 3, 30, "the descriptors' being given back")
        kinds = daemon.client().get(f"/v1/vms/{vm}").json
        assert kinds["state"] == "running"
    assert memory[3] < max(memory[1:3]) + 2048, memory
