"""vsock ports of guests, with Unix sockets where the kernel would be (see tests/support/guest_sockets.py)."""
import json
import os
import socket
from pathlib import Path

import pytest
from daemon import BUILD, Daemon, eventually
from guest_sockets import GuestSockets, available
from websocket import Refused, TEXT

RELEASE = Path(os.environ.get("DROVER_RELEASE_BUILD", "/nonexistent")) / "droverd"


@pytest.fixture(scope="module")
def guests():
    if not available(BUILD / "droverd"):
        pytest.skip("only sanitizer builds have the stand-in for vsock")
    with GuestSockets() as made:
        yield made


@pytest.fixture(scope="module")
def daemon(guests, contract):
    with Daemon(check=contract.check, env=guests.env) as d:
        yield d


def refused(daemon, path, **kw):
    with pytest.raises(Refused) as error:
        daemon.websocket(path, **kw)
    return error.value.status, json.loads(error.value.body)["code"]


def receive_all(connection):
    data = b""
    while chunk := connection.recv(65536):
        data += chunk
    return data


def test_bytes_pass_both_ways(daemon, guests, make_vm):
    vm = make_vm(start=True)
    listener = guests.listen(vm["vsock_cid"], 22)
    with daemon.websocket(f"/v1/vms/{vm['id']}/vsock/22") as ws:
        guest, _ = listener.accept()
        assert not ws.subprotocol
        ws.send(b"ping")
        assert guest.recv(16) == b"ping"
        guest.sendall(b"SSH-2.0-guest\r\n")
        assert ws.expect(b"\n") == b"SSH-2.0-guest\r\n"
        blob = os.urandom(3_000_000)
        guest.sendall(blob[:65536])
        assert ws.expect(blob[65526:65536]) == blob[:65536]
        guest.close()
        assert ws.receive() is None and ws.close_code == 1000
    listener.close()


def test_each_client_has_a_connection_of_its_own(daemon, guests, make_vm):
    vm = make_vm(start=True)
    listener = guests.listen(vm["vsock_cid"], 7)
    path = f"/v1/vms/{vm['id']}/vsock/7"
    with daemon.websocket(path) as first, daemon.websocket(path, subprotocols=["binary"]) as second:
        ends = [listener.accept()[0] for _ in range(2)]
        first.send(b"first")
        second.send(b"second")
        heard = {end.recv(16): end for end in ends}
        assert set(heard) == {b"first", b"second"}
        heard[b"second"].sendall(b"for the second")
        assert second.expect(b"second") == b"for the second"
        heard[b"first"].close()
        assert first.receive() is None
        heard[b"second"].sendall(b"still here")
        assert second.expect(b"here") == b"still here"
    listener.close()


def test_each_direction_ends_by_itself(daemon, guests, make_vm):
    vm = make_vm(start=True)
    listener = guests.listen(vm["vsock_cid"], 8)
    with daemon.websocket(f"/v1/vms/{vm['id']}/vsock/8", subprotocols=["drover.console.v1"]) as ws:
        guest, _ = listener.accept()
        assert json.loads(ws.receive()[1])["type"] == "hello"
        ws.send(b"all I have")
        ws.send(json.dumps({"type": "eof"}), TEXT)
        assert receive_all(guest) == b"all I have"
        guest.sendall(b"and what I think of it")
        assert ws.expect(b"it") == b"and what I think of it"
        guest.shutdown(socket.SHUT_WR)
        seen = ws.receive()
        assert seen is None or json.loads(seen[1])["type"] == "eof"
    listener.close()


def test_the_client_leaving_ends_the_guests_connection(daemon, guests, make_vm):
    vm = make_vm(start=True)
    listener = guests.listen(vm["vsock_cid"], 9)
    ws = daemon.websocket(f"/v1/vms/{vm['id']}/vsock/9")
    guest, _ = listener.accept()
    ws.close()
    assert guest.recv(16) == b""
    listener.close()


def test_nothing_listens(daemon, guests, make_vm):
    vm = make_vm(start=True)
    assert refused(daemon, f"/v1/vms/{vm['id']}/vsock/4294967294") == (409, "stream-unavailable")


@pytest.mark.parametrize("port", ["0", "4294967295", "4294967296", "18446744073709551616", "-1", "022", "x", "1e3"])
def test_what_is_no_port(daemon, guests, make_vm, port):
    vm = make_vm(start=True)
    assert refused(daemon, f"/v1/vms/{vm['id']}/vsock/{port}") == (400, "invalid-argument")


def test_a_vm_that_is_off_or_paused(daemon, api, guests, make_vm):
    vm = make_vm()
    listener = guests.listen(vm["vsock_cid"], 22)
    path = f"/v1/vms/{vm['id']}/vsock/22"
    assert refused(daemon, path) == (409, "stream-unavailable")
    assert api.post(f"/v1/vms/{vm['id']}/start", wait=30).json["state"] == "succeeded"
    assert api.post(f"/v1/vms/{vm['id']}/pause", wait=30).json["state"] == "succeeded"
    assert refused(daemon, path) == (409, "stream-unavailable")
    listener.settimeout(0)
    with pytest.raises(BlockingIOError):
        listener.accept()
    listener.close()


def test_there_is_no_watching(daemon, guests, make_vm):
    vm = make_vm(start=True)
    assert refused(daemon, f"/v1/vms/{vm['id']}/vsock/22?mode=view") == (400, "invalid-argument")


def test_tickets(daemon, api, guests, make_vm):
    vm, other = make_vm(start=True), make_vm(start=True)
    listener = guests.listen(vm["vsock_cid"], 22)

    def ticket(stream, status=201, mode="control"):
        answer = api.post("/v1/tickets", {"vm": vm["id"], "stream": stream, "mode": mode})
        assert answer.status == status, answer
        return answer.json
    made = ticket("vsock/22")
    with daemon.websocket(made["url"].split(daemon.address, 1)[1], token=None) as ws:
        guest, _ = listener.accept()
        guest.sendall(b"hello")
        assert ws.expect(b"hello") == b"hello"
    expired = (410, "ticket-expired")
    assert refused(daemon, f"/v1/vms/{vm['id']}/vsock/22?ticket={made['ticket']}", token=None) == expired
    for path in (f"/v1/vms/{other['id']}/vsock/22", f"/v1/vms/{vm['id']}/vsock/23", f"/v1/vms/{vm['id']}/console",
                 f"/v1/vms/{vm['id']}/display", f"/v1/vms/{vm['id']}/vsock/0"):
        secret = ticket("vsock/22")["ticket"]
        assert refused(daemon, f"{path}?ticket={secret}", token=None) == expired
    secret = ticket("vsock/22")["ticket"]
    assert refused(daemon, f"/v1/vms/{vm['id']}/vsock/22?mode=view&ticket={secret}", token=None) == expired
    for bad in ("vsock/0", "vsock/4294967295", "vsock/x", "serial/4"):
        assert ticket(bad, 422)["pointer"] == "/stream"
    assert ticket("vsock/22", 422, mode="view")["pointer"] == "/mode"
    for absent in ("display", "serial/1"):
        assert ticket(absent, 404)["code"] == "stream-not-found"
    listener.close()


def test_the_right_to_type_is_needed(daemon, guests, token, make_vm):
    vm = make_vm(start=True)
    assert refused(daemon, f"/v1/vms/{vm['id']}/vsock/22", token=token("viewer")) == (403, "forbidden")


def test_addresses_are_never_given_out_again(guests, contract):
    with Daemon(check=contract.check, env=guests.env) as own:
        def make(name):
            return own.client().post("/v1/vms", {"name": name}).json
        first = make("a")
        assert first["vsock_cid"] >= 1000
        assert own.client().delete(f"/v1/vms/{first['id']}", wait=30).status == 200
        second = make("a")
        assert second["vsock_cid"] > first["vsock_cid"]
        own.restart()
        assert make("b")["vsock_cid"] > second["vsock_cid"]
        assert own.client().get(f"/v1/vms/{second['id']}").json["vsock_cid"] == second["vsock_cid"]


def test_a_stop_ends_the_connection(daemon, api, guests, make_vm):
    vm = make_vm(start=True)
    listener = guests.listen(vm["vsock_cid"], 22)
    with daemon.websocket(f"/v1/vms/{vm['id']}/vsock/22") as ws:
        guest, _ = listener.accept()
        assert api.post(f"/v1/vms/{vm['id']}/stop", wait=30).json["state"] == "succeeded"
        guest.close()
        assert ws.receive() is None and ws.close_code == 1000
    listener.close()


def test_it_is_counted(daemon, api, guests, make_vm):
    def figures():
        text = api.get("/metrics").text
        return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
                if line.startswith("drover_console_") and 'kind="vsock"' in line}
    vm = make_vm(start=True)
    listener = guests.listen(vm["vsock_cid"], 22)
    # Those of the tests before are over a moment after their clients have gone.
    eventually(lambda: figures()['drover_console_active_connections{kind="vsock"}'] == 0)
    before = figures()
    with daemon.websocket(f"/v1/vms/{vm['id']}/vsock/22") as ws:
        guest, _ = listener.accept()
        ws.send(b"12345")
        assert guest.recv(16) == b"12345"
        guest.sendall(b"1234567")
        assert ws.expect(b"7") == b"1234567"
        expected = {'drover_console_active_connections{kind="vsock"}': 1,
                    'drover_console_connections_total{kind="vsock"}': 1,
                    'drover_console_bytes_total{kind="vsock",direction="in"}': 5,
                    'drover_console_bytes_total{kind="vsock",direction="out"}': 7}
        # Bytes are counted when they are written, which is a moment after they may have been read.
        eventually(lambda: {name: value - before[name] for name, value in figures().items()} == expected)
    listener.close()


def test_a_release_build_has_no_stand_in():
    if not RELEASE.exists():
        pytest.skip("there is no release build")
    assert not available(RELEASE)
