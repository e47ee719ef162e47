"""Leases and pools when the daemon dies: nothing is handed out twice, nothing lives on, nothing is lost."""
from daemon import eventually

TEMPLATE = {"memory_mib": 64, "networks": []}
ENDED_WITHIN = 60


def status(api):
    return api.get("/v1/pools/ci").json["status"]


def lease_of(api, lease):
    return api.get(f"/v1/leases/{lease['id']}").json


def gone(api, lease):
    return api.get(f"/v1/vms/{lease['vm']['id']}").status == 404


def fill(api, **definition):
    assert api.put("/v1/pools/ci", {"vm": TEMPLATE, **definition}).status in (200, 201)
    eventually(lambda: status(api)["ready"] == definition["ready"], 60)


def test_leases_and_pools_survive_the_daemon(libvirtd, make_daemon):
    daemon = make_daemon(libvirt=libvirtd.uri).start()
    api = daemon.client()
    fill(api, ready=2, max=6)
    keep = api.post("/v1/leases", {"pool": "ci", "ttl_seconds": 600}).json
    short = api.post("/v1/leases", {"pool": "ci", "ttl_seconds": 2}).json
    daemon.kill9()
    daemon.start()
    api = daemon.client()
    eventually(lambda: lease_of(api, short)["state"] == "ended" and gone(api, short), ENDED_WITHIN)
    assert lease_of(api, short)["end_reason"] == "expired"
    still = lease_of(api, keep)
    assert still["state"] == "active" and still["expires_at"] == keep["expires_at"]
    vm = api.get(f"/v1/vms/{keep['vm']['id']}").json
    assert (vm["lease_id"], vm["pool_id"]) == (keep["id"], api.get("/v1/pools/ci").json["id"])
    assert status(api)["leased"] == 1
    eventually(lambda: status(api)["ready"] == 2, 60)
    another = api.post("/v1/leases", {"pool": "ci"}).json
    assert another["warm"] and another["vm"]["id"] != keep["vm"]["id"]


def test_those_that_wait_are_the_same_after_a_restart(libvirtd, make_daemon):
    """None is made anew, and none is thrown away."""
    daemon = make_daemon(libvirt=libvirtd.uri).start()
    fill(daemon.client(), ready=2, max=6)

    def waiting(api):
        return sorted(vm["id"] for vm in api.get("/v1/vms").json["items"] if vm["pool_id"])

    before, seen = waiting(daemon.client()), daemon.client().get("/v1/events", limit=1).json["last_seq"]
    daemon.kill9()
    daemon.start()
    api = daemon.client()
    eventually(lambda: status(api)["ready"] == 2, 60)
    assert waiting(api) == before and len(before) == 2
    lease = api.post("/v1/leases", {"pool": "ci"}).json
    assert lease["warm"] and lease["vm"]["id"] in before
    kinds = [e["type"] for e in api.get("/v1/events", since=seen, limit=1000).json["items"]]
    assert kinds.index("lease.claimed") < min((kinds.index(k) for k in ("vm.created",) if k in kinds), default=1000), kinds
