"""A guest is asked to shut down, and libvirt goes away before anybody could see what came of it."""
import struct

import pytest
from api_client import Client
from daemon import eventually
from invariants import quiet

OPERATION_INVALID = 55  # libvirt's
BEING_SHUT_DOWN = struct.pack(">ii", 4, 1).hex()  # VIR_DOMAIN_SHUTDOWN, by a user; as remote_domain_get_state_ret
UNFINISHED = ("pending", "running")


@pytest.fixture
def api(libvirtd, proxy, make_daemon):
    del proxy  # it is before libvirtd
    daemon = make_daemon(libvirt=libvirtd.uri).start()
    made = daemon.client().post("/v1/vms", {"name": "one", "memory_mib": 16, "networks": [], "start": True})
    assert made.status == 201, made
    quiet(daemon.client())
    return Client(daemon.url, daemon.admin_token())


@pytest.mark.parametrize("verb, procedure, state", [("shutdown", "DOMAIN_SHUTDOWN_FLAGS", "stopped"),
                                                    ("save", "DOMAIN_MANAGED_SAVE", "saved"),
                                                    ("pause", "DOMAIN_SUSPEND", "paused")])
def test_a_refusal_after_which_nobody_can_look(api, proxy, verb, procedure, state):
    """The operation is not given up, nor is the VM left as it was in the middle: once for ever `stopping`."""
    vm = api.get("/v1/vms/one").json["id"]
    proxy.fault(procedure, "error", times=1, domain=vm, code=OPERATION_INVALID, message="not now")
    proxy.fault("DOMAIN_GET_STATE", "cut-before", domain=vm)
    op = api.post(f"/v1/vms/one/{verb}").json["id"]
    is_over = lambda: api.get(f"/v1/operations/{op}").json["state"] not in UNFINISHED  # noqa: E731
    eventually(lambda: proxy.seen().get(procedure, 0) >= 2 or is_over(), 20, "its being tried again")
    proxy.clear()
    told = api.get(f"/v1/operations/{op}", wait=20).json
    assert told["state"] == "succeeded", told
    assert api.get("/v1/vms/one").json["state"] == state


@pytest.mark.parametrize("procedure, verb, state", [
    ("DOMAIN_CREATE_WITH_FLAGS", "start", "running"), ("DOMAIN_RESUME", "start", "running"),
    ("DOMAIN_RESUME", "resume", "running"), ("DOMAIN_SUSPEND", "pause", "paused"), ("DOMAIN_MANAGED_SAVE", "save", "saved")])
def test_what_is_refused_for_having_been_done(api, proxy, procedure, verb, state):
    """By the attempt of a daemon that was killed: libvirtd did not stop in the middle of it."""
    vm = api.get("/v1/vms/one").json["id"]
    before = {"start": "stop", "resume": "pause"}.get(verb)
    if before:
        assert api.post(f"/v1/vms/one/{before}", wait=20).json["state"] == "succeeded"
    # The test driver starts nothing paused: what is meant is the second call, with its domain's id and no flags.
    call = vm + "ffffffff00000000" if procedure == "DOMAIN_CREATE_WITH_FLAGS" else vm
    proxy.fault(procedure, "error-after", times=1, domain=call, code=OPERATION_INVALID, message="domain is already so")
    told = api.post(f"/v1/vms/one/{verb}", wait=20).json
    assert proxy.hit() == 1
    assert told["state"] == "succeeded", told
    assert api.get("/v1/vms/one").json["state"] == state


def test_a_guest_that_is_on_its_way_down_is_as_was_wanted(api, libvirtd, proxy):
    """QEMU is still ending: libvirt refuses to shut down what is not running, and does not say yet that it is off."""
    vm, before = api.get("/v1/vms/one").json["id"], proxy.seen().get("DOMAIN_GET_STATE", 0)
    proxy.fault("DOMAIN_SHUTDOWN_FLAGS", "error", times=1, domain=vm, code=OPERATION_INVALID, message="domain is not running")
    proxy.fault("DOMAIN_GET_STATE", "answer", domain=vm, payload=BEING_SHUT_DOWN)
    op = api.post("/v1/vms/one/shutdown").json["id"]
    eventually(lambda: proxy.seen().get("DOMAIN_GET_STATE", 0) > before, 20, "its being looked at")
    proxy.clear()
    libvirtd.virsh("destroy", "one")
    told = api.get(f"/v1/operations/{op}", wait=20).json
    assert told["state"] == "succeeded", told
    assert api.get("/v1/vms/one").json["state"] == "stopped"
