"""Thousands of requests made from the contract: every answer is one that it lists, and a refusal changes nothing."""
import os
import random
from urllib.parse import urlencode

import pytest
from conftest import CONTRACT

from daemon import eventually
from generate import Generator

REQUESTS = 10000 if os.environ.get("DROVER_TEST_LONG") else 30
SEED = int(os.environ.get("DROVER_TEST_SEED", "20260131"))
# Not here: what turns the kernel's knobs, for this daemon is root on a machine that is not its own.
ELSEWHERE = {"patchKsm"}
# Parameters that make an answer wait for something get the shortest wait there is.
SHORT = {"timeout": "1", "queue_seconds": "0", "wait": "running", "follow": "false"}
# Waits for what these requests ask for, as it should; test_boot.py has it.
WAITS = {"waitForVm"}
LISTS = ("vms", "images", "image-labels", "pools", "leases", "sets", "tokens", "tickets", "webhooks", "recordings")


@pytest.fixture(scope="module")
def world(daemon):
    """One of most things, made again when a request has deleted it."""
    api = daemon.client()
    api.record = None # test_zz_coverage.py needs no more of them

    def ensure():
        if api.get("/v1/images/gen").status == 404:
            assert api.post("/v1/images", {"name": "gen", "kind": "disk", "format": "raw"}).status == 201
            assert api.put("/v1/images/gen/content", bytes(1 << 20)).status == 200
        if api.get("/v1/vms/gen").status == 404:
            assert api.post("/v1/vms", {"name": "gen", "memory_mib": 16}).status == 201
        if api.get("/v1/pools/gen").status == 404:
            assert api.put("/v1/pools/gen", {"vm": {"memory_mib": 16}, "ready": 0}).status in (200, 201)
        return {"vm": "gen", "image": "gen", "pool": "gen"}
    return api, ensure


def contents(api):
    """What a refused request may not change. Figures and states that move by themselves are left out."""
    found = {}
    for name in LISTS:
        answer = api.get(f"/v1/{name}", limit=1000)
        if answer.status == 200:
            found[name] = sorted((i.get("id") or i.get("name") or "", i.get("etag") or "") for i in answer.json["items"])
    assert "vms" in found and len(found) > 6
    return found


def settle(api):
    """What goes on by itself is ended: leases that expire, sets and pools that start VMs, operations under way.
    And a host that was said to go down stays up."""
    eventually(lambda: api.post("/v1/host/start-guests").status == 200, 120, "the end of a shutdown of the guests")
    for kind in ("leases", "sets", "pools"):
        for item in api.get(f"/v1/{kind}", limit=1000).json["items"]:
            if item.get("state") != "ended":
                gone = api.delete(f"/v1/{kind}/{item['id']}")
                assert gone.status < 300 or gone.status in (404, 409), gone

    def is_quiet():
        left = [o for o in api.get("/v1/operations", limit=1000).json["items"] if o["state"] in ("pending", "running")]
        dying = [v for v in api.get("/v1/vms", limit=1000).json["items"] if v["lease_id"] or v["pool_id"] or v["set"]]
        return not left and not dying
    eventually(is_quiet, 120, "an end of what goes on by itself")


def send(api, gen, operation, known, hostile):
    body, kind = gen.body(operation, hostile)
    query = gen.query(operation, SHORT, hostile)
    path = gen.path(operation, known, hostile) + ("?" + urlencode(query, errors="surrogatepass") if query else "")
    answer = api.request(operation.method, path, body=body, headers={"Content-Type": kind} if kind else {})
    assert answer.status not in (500, 502), (operation.method, path, body, answer)
    return answer, (operation.method, path, body)


@pytest.mark.parametrize("operation", [o for o in CONTRACT.operations if o.id not in ELSEWHERE | WAITS], ids=lambda o: o.id)
def test_requests_made_from_the_contract(world, operation):
    api, ensure = world
    rng = random.Random(f"{SEED} {operation.id}")
    gen = Generator(CONTRACT, rng)
    known, before, refused = ensure(), contents(api), []
    for _ in range(REQUESTS * 2 // 3):
        answer, what = send(api, gen, operation, known, hostile=True)
        refused.append(what)
        if answer.status < 400 and operation.method != "GET":
            # Not as bad as it was meant to be.
            settle(api)
            known = ensure()
            before, refused = contents(api), []
    assert contents(api) == before, refused
    for _ in range(REQUESTS // 3):
        send(api, gen, operation, ensure(), hostile=False)
    settle(api)
    assert api.get("/livez").status == 200
