"""Leases and pools when the daemon dies: nothing is handed out twice, nothing lives on, nothing is lost."""
import http.client
import random
import threading

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
    assert api.get(f"/v1/vms/{keep['vm']['id']}").json["lease_id"] == keep["id"]
    eventually(lambda: status(api)["ready"] == 2, 60)
    another = api.post("/v1/leases", {"pool": "ci"}).json
    assert another["warm"] and another["vm"]["id"] != keep["vm"]["id"]


def churn(daemon, seed, seen, stop, failures):
    """Asks, holds for a moment, gives back or forgets; notes every VM it was given with its lease."""
    rng, api = random.Random(seed), daemon.client()
    while not stop.is_set():
        key = f"{seed}-{rng.random()}"
        try:
            answer = api.post("/v1/leases", {"pool": "ci", "ttl_seconds": rng.choice([1, 2, 3]), "queue_seconds": 5},
                              headers={"Idempotency-Key": key}, wait="claimed", timeout=5)
            if answer.status != 201:
                continue
            lease = answer.json
            seen.append((lease["vm"]["id"], lease["id"]))
            if rng.random() < 0.7:
                api.delete(f"/v1/leases/{lease['id']}")
        except (OSError, http.client.HTTPException, AssertionError) as why:  # the daemon was killed: the next daemon tells what holds
            if isinstance(why, AssertionError):
                failures.append(str(why))


def test_clients_and_daemon_killed_at_random(libvirtd, make_daemon, rng, long):
    daemon = make_daemon(libvirt=libvirtd.uri).start()
    fill(daemon.client(), ready=2, max=4)
    seen, failures = [], []
    for _ in range(4 * long):
        stop = threading.Event()
        threads = [threading.Thread(target=churn, args=(daemon, rng.random(), seen, stop, failures)) for _ in range(3)]
        for thread in threads:
            thread.start()
        before = len(seen)
        try:
            eventually(lambda: len(seen) >= before + 6, 60)
        finally:
            stop.set()
        daemon.kill9() # in the middle of what they ask
        for thread in threads:
            thread.join()
        daemon.start()
    assert not failures
    owners = {}
    for vm, lease in seen:
        assert owners.setdefault(vm, lease) == lease, "a VM was handed out twice"
    api = daemon.client()
    for lease in api.get("/v1/leases", limit=1000).json["items"]:
        if lease["state"] != "ended":
            assert api.delete(f"/v1/leases/{lease['id']}").status == 200
    assert api.delete("/v1/pools/ci").status == 204
    eventually(lambda: not api.get("/v1/vms").json["items"], ENDED_WITHIN)
    assert len(libvirtd.domains()) == 1, "only the domain that the test driver brings is left"
