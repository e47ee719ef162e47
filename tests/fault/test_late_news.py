"""What libvirt said a moment ago is no news of a VM that an operation has brought further since.

A start starts its guest paused and then lets it go on. A state from in between was once published when another
operation of that VM was cancelled.
"""
import pytest
from api_client import Client
from daemon import eventually
from invariants import events_are_gapless, quiet


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
