"""vsock as it is: a guest's ports through the API, ssh through them, guests that say they are ready, and
addresses that are never given out again. Nothing on this side speaks vsock: the daemon in the host does."""
import hashlib
import json
import os
import shlex

import pytest

import guest
from installed import SLOW, eventually
from rig import PROMPT
from websocket import Refused

V1 = ["drover.console.v1"]
EOF = json.dumps({"type": "eof"})


@pytest.fixture(scope="module")
def image(service, host, tmp_path_factory):
    """The name of the demo image with an ssh server, uploaded."""
    where = os.environ["DROVER_DEMO_IMAGE"]
    initrd = guest.initrd(host.image, tmp_path_factory.mktemp("guest"))
    with open(f"{where}/cmdline", encoding="utf-8") as file:
        cmdline = file.read().strip()
    if service.api.get("/v1/images/guest").status == 404:
        assert service.api.post("/v1/images", {"name": "guest", "kind": "kernel", "cmdline": cmdline}).status == 201
    with open(f"{where}/vmlinuz", "rb") as file:
        service.api.put("/v1/images/guest/content/kernel", file.read(), patience=SLOW)
    answer = service.api.put("/v1/images/guest/content/initrd", initrd, patience=SLOW)
    assert answer.status == 200 and answer.json["state"] == "ready", answer
    return "guest"


@pytest.fixture(scope="module")
def vm(service, image):
    return service.create(image, name="talker", memory_mib=192, wait="console")


@pytest.fixture(scope="module")
def shell(service, vm):
    with service.console(vm["id"], timeout=SLOW) as c:
        c.expect(PROMPT, SLOW)
        yield c


def connect(service, vm, port, **kw):
    """A guest that has only just begun may not listen yet, and a busy one may not answer in time."""
    def attempt():
        try:
            return service.console(vm["id"], f"vsock/{port}", timeout=SLOW, **kw)
        except Refused as refused:
            assert refused.status in (409, 504), refused
            return None
    return eventually(attempt, SLOW, f"a connection to vsock port {port}", every=1)


def test_a_port_echoes(service, vm, shell):
    with connect(service, vm, 1234) as c:
        c.send(b"hello vsock")
        c.expect(b"hello vsock")
        every = bytes(range(256)) * 64
        c.send(every)
        while len(c.received) < 11 + len(every):
            assert c.receive()
        assert c.received == b"hello vsock" + every


def test_each_client_has_a_connection_of_its_own(service, vm, shell):
    with connect(service, vm, 1234) as a, connect(service, vm, 1234) as b:
        a.send(b"for a")
        b.send(b"for b")
        a.expect(b"for a")
        b.expect(b"for b")
        assert a.received == b"for a" and b.received == b"for b"


def test_one_side_ends_and_the_other_goes_on(service, vm, shell):
    """1 MiB there and back; the end of ours comes before the guest's answer is complete."""
    data = os.urandom(1 << 20)
    with connect(service, vm, guest.ECHO_PORT, subprotocols=V1) as c:
        for at in range(0, len(data), 65536):
            c.send(data[at:at + 65536])
        c.send(EOF)
        while len(c.received) < len(data):
            assert c.receive(), f"closed with {c.socket.close_code} after {len(c.received)} bytes"
        assert hashlib.sha256(c.received).digest() == hashlib.sha256(data).digest()
        assert c.until_closed() == 1000


def test_a_port_nobody_listens_on(service, vm, shell):
    with pytest.raises(Refused) as refused:
        service.console(vm["id"], "vsock/4321")
    assert refused.value.status in (409, 504), refused.value
    for port in ("0", "4294967295", "4294967296", "-1", "ssh"):
        with pytest.raises(Refused) as refused:
            service.console(vm["id"], f"vsock/{port}")
        assert refused.value.status in (400, 404), (port, refused.value)


def test_the_guests_ssh_server_answers(service, vm, shell):
    with connect(service, vm, guest.SSH_PORT) as c:
        c.expect(b"SSH-2.0-dropbear")


def test_ssh_through_the_command_line(service, host, vm, shell):
    """ssh -o ProxyCommand='drover vsock VM 22', with nothing else on either side."""
    if not host.succeeds("drover help vsock"):
        pytest.skip("this drover has no command vsock")
    host.write("/root/guest-key", (host.image / "id_ed25519").read_bytes())
    connect(service, vm, guest.SSH_PORT).close()
    proxy = f"drover --socket {service.state}/drover.sock vsock {vm['name']} {guest.SSH_PORT}"
    ssh = ("chmod 600 /root/guest-key; ssh -i /root/guest-key -o IdentitiesOnly=yes -o StrictHostKeyChecking=no "
           f"-o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ConnectTimeout={SLOW} "
           f"-o ProxyCommand={shlex.quote(proxy)} root@guest ")
    assert host.run(ssh + shlex.quote("hostname; echo $((6*7))"), seconds=SLOW).split() == ["demo", "42"]
    # Both directions, and the end of one before the other.
    sent = host.run("head -c 3000000 /dev/urandom >/root/blob; sha256sum </root/blob").split()[0]
    assert host.run(ssh + "sha256sum </root/blob", seconds=SLOW).split()[0] == sent
    assert host.run(ssh + "cat </root/blob | sha256sum", seconds=SLOW).split()[0] == sent


def test_a_guest_says_that_it_is_ready(service, vm, shell):
    """READY=1 to the address in vmm.notify_socket; the kernel tells the daemon which guest it was."""
    timeline = service.api.get(f"/v1/vms/{vm['id']}/timeline")
    if timeline.status == 404:
        pytest.skip("this droverd has no timeline")
    before = timeline.json
    assert before["ready_at"] is None and before["started_at"] and before["first_output_at"], before
    assert before["created_at"] <= before["started_at"] <= before["first_output_at"]
    credential = shell.run("strings /sys/firmware/dmi/tables/DMI|grep notify")
    address = credential.rsplit("vmm.notify_socket=", 1)[1].split()[0]
    cid, port = address.split(":")[-2:]
    assert cid == "2", credential
    shell.run(f"echo STATUS=almost|socat -u - VSOCK-CONNECT:2:{port}")
    eventually(lambda: service.api.get(f"/v1/vms/{vm['id']}/timeline").json["status"] == "almost", SLOW, "the status",
               every=0.5)
    assert service.vm(vm["id"])["ready_at"] is None
    shell.run(f"echo READY=1|socat -u - VSOCK-CONNECT:2:{port}")
    ready = eventually(lambda: service.vm(vm["id"])["ready_at"], SLOW, "ready_at", every=0.5)
    after = service.api.get(f"/v1/vms/{vm['id']}/timeline").json
    assert after["ready_at"] == ready >= before["first_output_at"] and after["userland_at"] <= ready
    event = service.events(vm["id"], "vm.ready")
    assert len(event) == 1 and event[0]["data"]["how"] == "notify"


def test_the_connection_ends_with_the_guest(service, vm, shell):
    with connect(service, vm, 1234) as c:
        c.send(b"still here")
        c.expect(b"still here")
        service.act(vm["id"], "stop", seconds=SLOW)
        try:
            assert c.until_closed() in (1000, 1011)
        except ConnectionError:
            pytest.fail("the socket was cut, not closed")
    with pytest.raises(Refused) as refused:
        service.console(vm["id"], "vsock/1234")
    assert refused.value.status == 409 and b"stream-unavailable" in refused.value.body


def test_an_address_is_never_given_out_again(service):
    """A connection that was meant for a guest that is gone reaches nobody, not its successor."""
    seen = set()
    for n in range(3):
        vm = service.create("demo", name="heir", start=False)
        assert vm["vsock_cid"] >= 1000 and vm["vsock_cid"] not in seen
        seen.add(vm["vsock_cid"])
        if n == 1:
            service.systemctl("restart")  # it is remembered on the disk
            service.wait_ready()
        service.delete(vm["id"])
    vm = service.create("demo", name="heir", wait="running")
    assert vm["vsock_cid"] not in seen
    given = service.host.run(f"virsh -c qemu:///system dumpxml {vm['id']} | grep -A3 '<vsock'")
    assert f"address='{vm['vsock_cid']}'" in given, given


def test_without_the_device_there_is_no_port(service):
    vm = service.create("demo", name="mute", vsock=False, wait="running")
    with pytest.raises(Refused) as refused:
        service.console(vm["id"], "vsock/1234")
    assert refused.value.status in (404, 409), refused.value
