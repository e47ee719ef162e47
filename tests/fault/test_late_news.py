"""What libvirt said a moment ago is no news of a VM that an operation has brought further since.

A start starts its guest paused and then lets it go on. A state from in between was once published: when another
operation of that VM was cancelled, or when the VM was changed so often that the tracker believed its last answer.
"""
import pytest
from api_client import Client
from daemon import eventually
from invariants import events_are_gapless, quiet

# How often the tracker asks again when the VM was changed meanwhile, before it puts the question off.
TRIES = 8

@pytest.fixture
def api(libvirtd, proxy, make_daemon):
    del proxy  # it is before libvirtd
    daemon = make_daemon(libvirt=libvirtd.uri).start()
    made = daemon.client().post("/v1/vms", {"name": "one", "memory_mib": 16, "networks": []})
    assert made.status == 201, made
    quiet(daemon.client())
    return Client(daemon.url, daemon.admin_token())


def states_told(api):
    return [e["data"]["state"] for e in events_are_gapless(api) if e["type"] == "vm.state"]


def test_a_comparison_that_ends_in_the_middle_of_a_stop(libvirtd, proxy, make_daemon):
    """It starts no operations any more. Once it did, and nobody waited for the threads: they met an engine that was
    freed, and the daemon ended with SIGABRT."""
    proxy.fault("CONNECT_GET_ALL_DOMAIN_STATS", "delay", seconds=1)
    daemon = make_daemon(libvirt=libvirtd.uri, settings={"log_level": "info"}, ready=False).start()
    eventually(lambda: proxy.hit() == 1, 20, "a comparison under way")
    daemon.stop()
    assert "cannot start operations: the daemon is stopping" in daemon.log()


def test_another_operation_is_cancelled_in_the_middle_of_a_start(api, proxy):
    vm = api.get("/v1/vms/one").json["id"]
    proxy.fault("DOMAIN_SUSPEND", "hang", domain=vm)
    start = api.post("/v1/vms/one/start").json["id"]
    eventually(lambda: proxy.held() == 1, 20, "a guest that is started and paused")
    stop = api.post("/v1/vms/one/stop").json["id"]
    assert api.delete(f"/v1/operations/{stop}").status == 200
    assert api.get("/v1/vms/one").json["state"] == "starting"
    proxy.clear()
    assert api.get(f"/v1/operations/{start}", wait=20).json["state"] == "succeeded"
    assert api.get("/v1/vms/one").json["state"] == "running"
    assert "paused" not in states_told(api)


def test_a_queued_start_that_is_cancelled_shows_what_is(api, proxy):
    """Also beside another operation of the VM that is under way."""
    vm = api.get("/v1/vms/one").json["id"]
    assert api.post("/v1/vms/one/start", wait=20).status == 200
    quiet(api)
    proxy.fault("DOMAIN_DESTROY_FLAGS", "hang", domain=vm)
    stop = api.post("/v1/vms/one/stop").json["id"]
    eventually(lambda: proxy.held() == 1, 20, "a guest that is off, and nobody knows")
    eventually(lambda: api.get("/v1/vms/one").json["state"] == "stopped", 20, "the tracker's having seen it")
    start = api.post("/v1/vms/one/start").json["id"]
    assert api.delete(f"/v1/operations/{start}").status == 200
    assert api.get("/v1/vms/one").json["state"] == "stopped"
    proxy.clear()
    assert api.get(f"/v1/operations/{stop}", wait=20).json["state"] == "succeeded"
    assert api.get("/v1/vms/one").json["state"] == "stopped"


def test_a_late_answer_after_many_changes(api, proxy, libvirtd):
    """Each answer of libvirt's comes after a change of the VM, the last one after the end of its start."""
    vm = api.get("/v1/vms/one").json["id"]
    proxy.fault("DOMAIN_SUSPEND", "hang", domain=vm)
    start = api.post("/v1/vms/one/start").json["id"]
    eventually(lambda: proxy.held() == 1, 20, "a guest that is started and paused")
    for _ in range(TRIES + 1):
        proxy.fault("DOMAIN_GET_STATE", "hang", times=1, domain=vm)
    for verb in ("resume", "suspend"):  # somebody else, so that the tracker asks
        libvirtd.virsh(verb, vm)
    for number in range(TRIES):
        eventually(lambda number=number: proxy.hit() > number + 1, 20, "a question")
        assert api.patch("/v1/vms/one", {"description": f"{number}"}).status == 200
        proxy.release("DOMAIN_GET_STATE")
    eventually(lambda: proxy.hit() == TRIES + 2, 20, "the last question")
    proxy.release("DOMAIN_SUSPEND")
    assert api.get(f"/v1/operations/{start}", wait=20).json["state"] == "succeeded"
    proxy.clear()
    eventually(lambda: proxy.held() == 0, 20, "all answers")
    quiet(api)
    assert "paused" not in states_told(api)
    assert api.get("/v1/vms/one").json["state"] == "running"
