"""Threads that are late where the scheduler could make them so: what comes in another order than usual is
still right."""
import os
import random
import threading

import pytest

from conftest import CONTRACT
from daemon import BUILD, Daemon, eventually

SHIM = BUILD / "tests" / "late_unlocks.so"
TEMPLATE = {"memory_mib": 16, "networks": []}
PATIENCE = 60

pytestmark = pytest.mark.skipif(not SHIM.exists(), reason=f"{SHIM} is not built")


@pytest.fixture(scope="module")
def late():
    seed = os.environ.get("DROVER_SEED") or str(random.SystemRandom().randrange(1, 1 << 31))
    print(f"seed: DROVER_SEED={seed}")
    # The address sanitizer wants to be the first library; this one asks it for nothing.
    env = {"LD_PRELOAD": str(SHIM), "LATE_UNLOCKS": seed,
           "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}
    with Daemon(check=CONTRACT.check, env=env) as daemon:
        yield daemon


def together(*functions):
    """Runs them at once; the first that fails fails the test."""
    failures = []

    def guarded(function):
        try:
            function()
        except BaseException as failure:  # pylint: disable=broad-exception-caught
            failures.append(failure)

    threads = [threading.Thread(target=guarded, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def test_the_line_is_served_in_order(late, long):
    api = late.client()
    assert api.put("/v1/pools/one", {"vm": TEMPLATE, "depth": "cold", "max": 1}).status == 201
    holding = api.post("/v1/leases", {"pool": "one"}, patience=PATIENCE).json
    for _ in range(15 * long):
        line = [api.post("/v1/leases", {"pool": "one", "queue_seconds": 600}, patience=PATIENCE).json for _ in range(3)]
        for one in line:
            assert api.delete(f"/v1/leases/{holding['id']}", patience=PATIENCE).status == 200
            holding = api.get(f"/v1/leases/{one['id']}", wait=30, patience=PATIENCE).json
            assert holding["state"] == "active", [api.get(f"/v1/leases/{o['id']}").json["state"] for o in line]
    assert api.delete(f"/v1/leases/{holding['id']}", patience=PATIENCE).status == 200
    assert api.delete("/v1/pools/one").status == 204


def test_a_vm_is_one_holders_at_a_time_and_nothing_is_left(late, long):
    api, held, lock = late.client(), set(), threading.Lock()
    assert api.put("/v1/pools/ci", {"vm": TEMPLATE, "ready": 2, "max": 4}).status == 201

    def come_and_go():
        own = late.client()
        for _ in range(8 * long):
            lease = own.post("/v1/leases", {"pool": "ci", "queue_seconds": 600}, wait="claimed", timeout=PATIENCE,
                             patience=2 * PATIENCE)
            assert lease.status == 201 and lease.json["vm"], lease
            with lock:
                assert lease.json["vm"]["id"] not in held
                held.add(lease.json["vm"]["id"])
            assert own.delete(f"/v1/leases/{lease.json['id']}", patience=PATIENCE).json["state"] == "ended"

    together(*[come_and_go] * 6)
    assert len(held) == 6 * 8 * long, "each is new"
    assert api.delete("/v1/pools/ci").status == 204
    eventually(lambda: not api.get("/v1/vms", limit=1000).json["items"], PATIENCE, "no VM left")
    assert not api.get("/v1/leases", state="active").json["items"]


def test_who_follows_hears_each_event_once_and_in_order(late, long):
    api, heard = late.client(), []
    start = api.get("/v1/events").json["last_seq"]
    stream = api.sse(since=start, patience=PATIENCE)

    def write(number):
        own = late.client()
        for i in range(6 * long):
            vm = own.post("/v1/vms", {"name": f"w{number}-{i}", **TEMPLATE}, patience=PATIENCE).json["id"]
            assert own.patch(f"/v1/vms/{vm}", {"cpus": 2}, patience=PATIENCE).status == 200
            assert own.delete(f"/v1/vms/{vm}", wait=30, patience=PATIENCE).status == 200

    def follow():
        for _, event in stream:
            heard.append(event["seq"])
            if (event["type"], event["subject"]["name"]) == ("vm.deleted", "last"):
                return

    def write_all():
        together(*[lambda n=n: write(n) for n in range(4)])
        last = api.post("/v1/vms", {"name": "last", **TEMPLATE}, patience=PATIENCE).json["id"]
        assert api.delete(f"/v1/vms/{last}", wait=30, patience=PATIENCE).status == 200

    together(follow, write_all)
    stored, since = [], start
    while not stored or stored[-1] < heard[-1]:
        stored += [e["seq"] for e in api.get("/v1/events", since=since, limit=1000).json["items"]]
        since = stored[-1]
    assert heard == [seq for seq in stored if seq <= heard[-1]]
