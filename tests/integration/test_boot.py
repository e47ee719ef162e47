"""How far a boot came, and guests that say so themselves (over the stand-in for vsock)."""
import re
import socket

import pytest
from daemon import BUILD, Daemon, eventually
from guest_sockets import GuestSockets, available

PORT = 8460


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


def say(guests, cid, text, port=PORT):
    """As systemd does: one connection, one message, and wait until it was read."""
    with guests.dial(cid, port) as connection:
        connection.sendall(text)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(16) == b""


def timeline(api, vm):
    return api.get(f"/v1/vms/{vm['id']}/timeline").json


def test_before_the_first_boot(api, make_vm):
    vm = make_vm()
    times = timeline(api, vm)
    assert times["created_at"] == vm["created_at"]
    assert {name for name, value in times.items() if value} == {"created_at"}
    assert vm["ready_at"] is None and vm["last_attached_at"] is None


def test_a_guest_says_that_it_is_ready(api, guests, make_vm):
    vm = make_vm(start=True)
    last = api.get("/v1/events").json["last_seq"]

    def measured():
        return float(re.search(r"^drover_vm_boot_to_ready_seconds_count (\d+)$", api.get("/metrics").text, re.M)[1])

    before = measured()
    say(guests, vm["vsock_cid"], b"STATUS=Starting \x1b[1mthings\nX_SYSTEMD_UNIT_ACTIVE=basic.target")
    times = timeline(api, vm)
    assert times["userland_at"] and not times["ready_at"]
    assert times["status"] == "Starting  [1mthings"
    assert times["userland_at"] >= times["started_at"]
    say(guests, vm["vsock_cid"], b"READY=1\nX_SYSTEMD_HOSTNAME=guest\n")
    times = timeline(api, vm)
    assert times["ready_at"] >= times["userland_at"]
    shown = api.get(f"/v1/vms/{vm['id']}").json
    assert shown["ready_at"] == times["ready_at"]
    assert shown["etag"] == vm["etag"]
    say(guests, vm["vsock_cid"], b"READY=1")
    assert timeline(api, vm) == times
    assert measured() == before + 1
    events = [e for e in api.get("/v1/events", since=last).json["items"] if e["type"] == "vm.ready"]
    assert [e["subject"]["id"] for e in events] == [vm["id"]]
    assert events[0]["data"]["how"] == "notify" and events[0]["data"]["boot_ms"] >= 0


def test_nobody_else_can_say_it(daemon, api, guests, make_vm):
    vm, other = make_vm(start=True), make_vm()
    for cid in (other["vsock_cid"], vm["vsock_cid"] + 1000, 0, 1, 2, 999, 4294967295):
        try:
            say(guests, cid, b"READY=1")
        except OSError:
            pass  # what cannot be a guest is not even read
    assert not timeline(api, vm)["ready_at"] and not timeline(api, other)["ready_at"]


@pytest.mark.parametrize("text", [b"", b"\n", b"READY", b"READY=0", b"READY=11", b" READY=1", b"READY=1\0", b"ready=1",
                                  b"\xff" * 100, b"X" * 4096, b"STATUS=" + b"x" * 5000 + b"\nREADY=1"])
def test_what_is_no_such_message(api, guests, make_vm, text):
    vm = make_vm(start=True)
    with guests.dial(vm["vsock_cid"], PORT) as connection:
        connection.settimeout(30)
        try:
            connection.sendall(text)
            connection.shutdown(socket.SHUT_WR)
            connection.recv(16)
        except OSError:
            pass  # it did not read to the end
    say(guests, vm["vsock_cid"], b"STATUS=still alive")
    times = timeline(api, vm)
    assert times["status"] == "still alive" and not times["ready_at"]


def test_a_guest_that_says_nothing_and_holds_on(api, guests, make_vm):
    """It has a few connections and no more, and its own READY still comes when one is free."""
    vm, other = make_vm(start=True), make_vm(start=True)
    held = [guests.dial(vm["vsock_cid"], PORT) for _ in range(4)]
    with guests.dial(vm["vsock_cid"], PORT) as fifth:
        assert fifth.recv(16) == b""
    say(guests, other["vsock_cid"], b"READY=1")
    assert timeline(api, other)["ready_at"]
    held[0].sendall(b"READY=1")
    held[0].shutdown(socket.SHUT_WR)
    assert held[0].recv(16) == b""
    assert timeline(api, vm)["ready_at"]
    for connection in held:
        connection.close()


def test_a_new_boot_begins_anew(api, guests, make_vm):
    vm = make_vm(start=True)
    say(guests, vm["vsock_cid"], b"READY=1")
    before = timeline(api, vm)
    assert before["ready_at"]
    assert api.post(f"/v1/vms/{vm['id']}/stop", wait=30).json["state"] == "succeeded"
    assert timeline(api, vm) == before  # of the last boot, while there is no other
    say(guests, vm["vsock_cid"], b"STATUS=a ghost")
    assert timeline(api, vm) == before
    assert api.post(f"/v1/vms/{vm['id']}/start", wait=30).json["state"] == "succeeded"
    after = timeline(api, vm)
    assert after["started_at"] > before["started_at"] and not after["ready_at"] and not after["userland_at"]


def test_waiting_for_it(daemon, api, guests, name):
    def create(**kw):
        return api.post("/v1/vms", {"name": name(), "start": True}, wait="ready", **kw)
    late = create(timeout=1)
    assert late.status == 504 and late.code == "timeout" and "ready" in late.json["detail"]
    waiting, key = name(), {"Idempotency-Key": "ready-1"}
    body = {"name": waiting, "start": True}
    assert api.post("/v1/vms", body, wait="ready", timeout=1, headers=key).status == 504
    vm = eventually(lambda: (v := api.get(f"/v1/vms/{waiting}").json)["state"] == "running" and v)
    say(guests, vm["vsock_cid"], b"READY=1")
    answer = api.post("/v1/vms", body, wait="ready", timeout=30, headers=key)
    assert answer.status == 201 and answer.json["ready_at"]
    assert api.post("/v1/vms", {"name": name()}, wait="ready").json["pointer"] == "wait"
    assert api.post("/v1/vms", {"name": name()}, wait="done").json["pointer"] == "wait"


def test_it_is_remembered(contract, guests):
    with Daemon(check=contract.check, env=guests.env) as own:
        vm = own.client().post("/v1/vms", {"name": "a", "start": True}, wait="running").json
        say(guests, vm["vsock_cid"], b"READY=1\nSTATUS=up")
        before = timeline(own.client(), vm)
        own.stop()
        own.start()
        assert timeline(own.client(), vm) == before


def test_who_attached_last(daemon, api, guests, make_vm):
    vm = make_vm(start=True)
    listener = guests.listen(vm["vsock_cid"], 22)
    with daemon.websocket(f"/v1/vms/{vm['id']}/vsock/22"):
        listener.accept()[0].close()
        found = eventually(lambda: api.get(f"/v1/vms/{vm['id']}").json["last_attached_at"])
    assert found >= vm["created_at"]
    assert api.get(f"/v1/vms/{vm['id']}").json["etag"] == vm["etag"]
    listener.close()


def test_the_port_may_be_off(contract, guests):
    with Daemon(check=contract.check, env=guests.env, settings={"notify_port": 0}):
        with pytest.raises(OSError):
            guests.dial(1000, 0)


@pytest.mark.parametrize("member, value", [("ready_pattern", ""), ("ready_pattern", "x" * 129), ("ready_pattern", 1),
                                           ("serial_ports", 0), ("serial_ports", 5), ("serial_ports", "2")])
def test_bad_members(api, name, member, value):
    answer = api.post("/v1/vms", {"name": name(), member: value})
    assert answer.status == 422 and answer.json["pointer"] == f"/{member}"


def test_members_can_be_changed(api, make_vm):
    vm = make_vm()
    changed = api.patch(f"/v1/vms/{vm['id']}", {"serial_ports": 3, "ready_pattern": "login:"}).json
    assert changed["serial_ports"] == 3 and changed["ready_pattern"] == "login:"
    back = api.patch(f"/v1/vms/{vm['id']}", {"serial_ports": None, "ready_pattern": None}).json
    assert back["serial_ports"] == 1 and back["ready_pattern"] is None
