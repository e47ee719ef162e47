"""A guest is asked to shut down, and libvirt goes away before anybody could see what came of it."""
import pytest
from api_client import Client
from daemon import eventually
from invariants import quiet

OPERATION_INVALID = 55  # libvirt's
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
