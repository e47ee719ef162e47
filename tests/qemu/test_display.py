"""Screens: RFB for anybody who speaks it over WebSocket, several at once, and who only watches."""
import json
import re
import socket
import struct
import subprocess

import pytest

from rfb import Rfb
from rig import BUILD, SLOW, qemu_pid
from websocket import Refused


@pytest.fixture(scope="module")
def vm(rig):
    made = rig.create("keys", display=True, serial_ports=2, wait="console")
    with rig.console(made["id"]) as c:
        c.expect(rb"Type\.\r\n")
    return made["id"]


def open_display(rig, vm, token="admin", **query):
    path = f"/v1/vms/{vm}/display" + ("?" + "&".join(f"{k}={v}" for k, v in query.items()) if query else "")
    return rig.websocket(path, token=token, timeout=SLOW)


def test_the_screen_speaks_rfb(rig, vm):
    with open_display(rig, vm) as ws:
        screen = Rfb(ws)
        assert screen.version == b"RFB 003.008\n"
        assert screen.width >= 320 and screen.height >= 200
        assert screen.update() > 0


def test_keys_reach_the_guest(rig, vm):
    with open_display(rig, vm) as ws, rig.console(vm, mode="view", from_=end_of(rig, vm)) as console:
        screen = Rfb(ws)
        for key in "drover":
            screen.key(key)
        console.expect(rb"drover")


def end_of(rig, vm):
    return int(rig.log_raw(vm).header("X-Drover-Next"))


def test_several_look_at_once_whatever_they_ask_for(rig, vm):
    with open_display(rig, vm) as one, open_display(rig, vm) as two, open_display(rig, vm, mode="view") as three:
        screens = [Rfb(one, shared=True), Rfb(two, shared=False), Rfb(three, shared=False)]
        for screen in screens:
            assert screen.update() > 0


def test_who_watches_cannot_type(rig, vm):
    with open_display(rig, vm, mode="view") as watching, open_display(rig, vm) as typing, \
            rig.console(vm, mode="view", from_=end_of(rig, vm)) as console:
        watcher, typist = Rfb(watching), Rfb(typing)
        for key in "forbidden":
            watcher.key(key)
        assert watcher.update() > 0  # what was sent before it has been read by now
        for key in "ok.":
            typist.key(key)
        console.expect(rb"ok\.")
        assert console.received == b"ok."


def test_a_viewers_right_is_to_watch(rig, vm):
    made = rig.api.post("/v1/tokens", {"name": "watcher", "role": "viewer"}).json
    with pytest.raises(Refused) as refused:
        open_display(rig, vm, token=made["token"])
    assert refused.value.status == 403
    with open_display(rig, vm, token=made["token"], mode="view") as ws:
        assert Rfb(ws).update() > 0
        assert rig.api.delete(f"/v1/tokens/{made['id']}").status == 204
        while ws.receive():
            pass
        assert ws.close_code == 1008


def test_a_ticket_for_the_screen(rig, vm):
    made = rig.api.post("/v1/tickets", {"vm": vm, "stream": "display", "mode": "view"}).json
    with rig.websocket(made["url"].split(rig.address, 1)[1], token=None, timeout=SLOW) as ws:
        assert Rfb(ws).update() > 0
    with pytest.raises(Refused) as refused:
        open_display(rig, vm, token=None, ticket=made["ticket"], mode="view")
    assert refused.value.status == 410


def test_qemu_listens_on_no_port(rig, vm):
    sockets = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout
    assert f"pid={qemu_pid(vm)}," not in sockets


def test_a_vm_without_one_says_so(rig):
    vm = rig.create(wait="console")["id"]
    with pytest.raises(Refused) as refused:
        open_display(rig, vm)
    assert (refused.value.status, json.loads(refused.value.body)["code"]) == (404, "stream-not-found")
    assert rig.api.patch(f"/v1/vms/{vm}", {"display": True}).json["pending_changes"]
    with pytest.raises(Refused) as refused:
        open_display(rig, vm)
    assert (refused.value.status, json.loads(refused.value.body)["code"]) == (409, "stream-unavailable")


def test_a_picture(rig, vm):
    answer = rig.api.get(f"/v1/vms/{vm}/display.png")
    assert answer.status == 200 and answer.header("Content-Type") == "image/png"
    assert answer.body[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", answer.body[16:24])
    with open_display(rig, vm) as ws:
        screen = Rfb(ws)
        assert (width, height) == (screen.width, screen.height)
    assert rig.api.get(f"/v1/vms/{rig.create(start=False)['id']}/display.png").code == "stream-not-found"


def test_a_viewer_of_ones_own(rig, vm, tmp_path):
    """drover display: a Unix socket that a VNC viewer connects to."""
    path = tmp_path / "screen"
    command = [BUILD / "drover", "--socket", rig.socket_path, "display", vm, "--listen", path, "--once"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process, \
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as viewer:
        assert process.stdout.readline().decode().strip() == str(path)
        viewer.settimeout(SLOW)
        viewer.connect(str(path))
        screen = Rfb(Stream(viewer))
        assert screen.update() > 0
        viewer.close()
        process.communicate(timeout=SLOW)
    assert process.returncode == 0


class Stream:
    """A socket as Rfb wants it."""

    def __init__(self, sock):
        self.socket, self.close_code = sock, None

    def send(self, data):
        self.socket.sendall(data)

    def receive(self):
        data = self.socket.recv(65536)
        return (2, data) if data else None


def test_a_stop_ends_it(rig):
    vm = rig.create("keys", display=True, wait="console")["id"]
    with open_display(rig, vm) as ws:
        Rfb(ws)
        rig.act(vm, "stop")
        while ws.receive():
            pass
        assert ws.close_code == 1000


def test_a_second_serial_port_is_a_stream_of_its_own(rig, vm):
    with rig.console(vm, "serial/1", subprotocols=["drover.console.v1"]) as c, rig.console(vm, mode="view") as first:
        assert c.control("hello")["mode"] == "control"
        c.send(b"on the second")
        c.expect(rb"on the second")
        first.expect(rb"Type\.")
        assert b"second" not in first.received
    answer = rig.api.get(f"/v1/vms/{vm}/console/log", stream="serial/1", format="raw")
    assert answer.status == 200 and answer.body.endswith(b"on the second")
    assert re.search(b"second", rig.log_raw(vm).body) is None
    assert rig.api.delete(f"/v1/vms/{vm}/console/log", stream="serial/1").status == 204
    assert rig.api.get(f"/v1/vms/{vm}/console/log", stream="serial/1", format="raw").body == b""
    assert b"Type." in rig.log_raw(vm).body
