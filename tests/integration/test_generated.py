"""Requests made from the contract: every answer is one that it lists, and a refusal changes nothing.

For every route so many that are wrong and so many that its schemas allow. DROVER_TEST_REQUESTS says how many of
each, DROVER_TEST_SEED where chance begins, DROVER_TEST_RESULTS a file that gets a line of figures a route.
"""
import os
import random
import time

import pytest
from conftest import CONTRACT
from daemon import Daemon, eventually

from campaign import Campaign
from generate import Generator

LONG = bool(os.environ.get("DROVER_TEST_LONG"))
REQUESTS = int(os.environ.get("DROVER_TEST_REQUESTS", "10000" if LONG else "25"))
SEED = int(os.environ.get("DROVER_TEST_SEED", "20260131"))
# Not here: what turns the kernel's knobs, for this daemon is root on a machine that is not its own.
ELSEWHERE = {"patchKsm"}
# Waits for what these requests ask for, as it should; test_boot.py has it.
TIMED = {"waitForVm"}
# More than so many of a kind that others left are deleted.
SPARE = 40


def things(api, kind):
    return api.get(f"/v1/{kind}", limit=1000).json["items"]


def remove(api, kind, item, **query):
    gone = api.delete(f"/v1/{kind}/{item}", **query)
    assert gone.status < 300 or gone.status in (404, 409, 503), gone


def tidy(api, keep):
    """What a batch made is taken away: leases, sets and pools go on by themselves, the rest only when it is much."""
    eventually(lambda: api.post("/v1/host/start-guests").status == 200, 120, "the end of a shutdown of the guests")
    for kind in ("leases", "sets", "pools"):
        for item in things(api, kind):
            if item.get("state") != "ended" and item["id"] not in keep:
                remove(api, kind, item["id"])

    def is_quiet():
        left = [o for o in things(api, "operations") if o["state"] in ("pending", "running")]
        dying = [v for v in things(api, "vms") if {v["lease_id"], (v["set"] or {}).get("id")} - keep - {None} or v["pool_id"]]
        return not left and not dying
    eventually(is_quiet, 120, "an end of what goes on by itself")
    for kind in ("vms", "image-labels", "images", "recordings", "tickets", "webhooks", "tokens", "projects", "catalogue-sources"):
        found = [i for i in things(api, kind) if (i.get("id") or i["name"]) not in keep]
        if len(found) > SPARE:
            for item in found:
                if not item.get("current") and item.get("name") != "default":
                    remove(api, kind, item.get("id") or item["name"], **({"force": True} if kind == "vms" else {}))
            if kind == "vms":
                eventually(is_quiet, 120, "the deletions")


class World:
    """One of most things, made again when a request has changed or deleted it."""

    def __init__(self, api):
        self.made = {}
        self.admin = {t["id"] for t in things(api, "tokens")}

    def one(self, api, name, path, make):
        if name in self.made and api.get(f"{path}/{self.made[name]}").status == 200:
            return
        answer = make()
        assert answer.status < 300, answer
        self.made[name] = answer.json.get("id", answer.json.get("name"))

    def __call__(self, api):
        tidy(api, {*self.made.values(), *self.admin})
        if api.get("/v1/images/gen").json.get("state") != "ready":
            api.delete("/v1/images/gen")
            assert api.post("/v1/images", {"name": "gen", "kind": "disk", "format": "raw"}).status == 201
            assert api.put("/v1/images/gen/content", bytes(1 << 20)).status == 200
        self.made["image"] = api.get("/v1/images/gen").json["id"]
        for name, path, make in (
                ("vm", "/v1/vms", lambda: api.post("/v1/vms", {"name": "gen", "memory_mib": 16})),
                ("pool", "/v1/pools", lambda: api.put("/v1/pools/gen", {"vm": {"memory_mib": 16}, "ready": 0})),
                ("label", "/v1/image-labels", lambda: api.put("/v1/image-labels/gen-label", {"image": "gen"})),
                ("token", "/v1/tokens", lambda: api.post("/v1/tokens", {"name": "gen", "role": "viewer"})),
                ("project", "/v1/projects", lambda: api.post("/v1/projects", {"name": "gen"})),
                ("webhook", "/v1/webhooks", lambda: api.post("/v1/webhooks", {"url": "http://127.0.0.1:9/", "enabled": False}))):
            self.one(api, name, path, make)
        eventually(lambda: not api.get(f"/v1/vms/{self.made['vm']}").json.get("operation"), 60, "the VM")
        return dict(self.made)


@pytest.fixture(scope="module")
def daemon():
    with Daemon(check=CONTRACT.check, settings={"auth_failures_per_minute": 100000, "webhook_private": "true", "set_vms": 20,
                                                "memory_overcommit_percent": 0}) as d:
        yield d


@pytest.fixture(scope="module")
def campaign(daemon):
    api = daemon.client()
    made = Campaign(daemon, CONTRACT, Generator(CONTRACT, random.Random()), World(api))
    yield made
    print(made.report())
    made.close()


@pytest.mark.parametrize("operation", [o for o in CONTRACT.operations if o.id not in ELSEWHERE | TIMED], ids=lambda o: o.id)
def test_requests_made_from_the_contract(daemon, campaign, operation):
    campaign.gen.rng.seed(f"{SEED} {operation.id}")
    begun = time.monotonic()
    for hostile in (True, False):
        campaign.run(operation, REQUESTS, hostile)
    assert campaign.api.get("/livez").status == 200 and not daemon.process.poll()
    if file := os.environ.get("DROVER_TEST_RESULTS"):
        counts = {status: n for (name, status), n in campaign.statuses.items() if name == operation.id}
        with open(file, "a", encoding="utf-8") as out:
            print(operation.id, f"{time.monotonic() - begun:.1f} s", sum(counts.values()), dict(sorted(counts.items())), file=out)
