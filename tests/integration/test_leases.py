"""Leases and pools on libvirt's test driver: nobody is given a VM twice, nothing is left behind."""
import re
import sqlite3
import threading
import time
from contextlib import closing
from datetime import datetime

import pytest
from daemon import eventually

TEMPLATE = {"memory_mib": 64, "networks": []}


@pytest.fixture
def make_pool(api, name):
    """make_pool(ready=2, max=4) is a pool; its VMs are gone afterwards."""
    made = []

    def make(vm=None, settled=True, **definition):
        pool = name("pool")
        response = api.put(f"/v1/pools/{pool}", {"vm": vm or TEMPLATE, **definition})
        assert response.status == 201, response
        made.append(pool)
        if settled and definition.get("depth") != "cold":
            wait_ready(api, pool, definition.get("ready", 1))
        return api.get(f"/v1/pools/{pool}").json

    yield make
    for pool in made:
        api.delete(f"/v1/pools/{pool}")
    for lease in api.get("/v1/leases", limit=1000).json["items"]:
        if lease["pool"] in made and lease["state"] != "ended":
            api.delete(f"/v1/leases/{lease['id']}")
    eventually(lambda: not [v for v in vms(api) if v["name"].rsplit("-", 1)[0] in made], 30)


def vms(api, **query):
    return api.get("/v1/vms", limit=1000, **query).json["items"]


def status(api, pool):
    return api.get(f"/v1/pools/{pool}").json["status"]


def wait_ready(api, pool, count):
    eventually(lambda: status(api, pool)["ready"] == count, 30)


def members(api, pool):
    return [v for v in vms(api) if v["pool_id"] == pool["id"]]


def gone(api, vm_id):
    return api.get(f"/v1/vms/{vm_id}").status == 404


def ended(api, lease):
    return api.get(f"/v1/leases/{lease['id']}").json["state"] == "ended"


def moment(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def claims(api, kind):
    text = api.get("/metrics").text
    found = re.search(rf'^drover_lease_claim_seconds_count{{kind="{kind}"}} (\d+)$', text, re.M)
    assert f'drover_lease_claim_seconds_bucket{{kind="{kind}",le="0.0025"}}' in text
    return int(found[1])


def test_how_long_a_claim_took_is_measured(api, make_pool):
    warm, cold = claims(api, "warm"), claims(api, "cold")
    pool = make_pool(ready=1)
    assert api.post("/v1/leases", {"pool": pool["name"], "ttl_seconds": 60}).json["warm"] is True
    assert claims(api, "warm") == warm + 1 and claims(api, "cold") == cold


# ---- pools ----


def test_a_pool_has_its_defaults_and_fills_itself(api, make_pool):
    pool = make_pool(ready=2, max=3)
    assert pool["depth"] == "booted" and pool["ready_when"] == "running" and pool["etag"] == "1"
    assert pool["vm"] == TEMPLATE
    waiting = members(api, pool)
    assert len(waiting) == 2 and all(v["state"] == "running" and v["lease_id"] is None for v in waiting)
    assert len({v["vsock_cid"] for v in waiting}) == 2, "identities are their own"
    assert status(api, pool["name"])["warming"] == 0
    assert pool["id"] in [p["id"] for p in api.get("/v1/pools", limit=1000).json["items"]]
    # The test driver has no processes that could be measured, and that is not a zero.
    memory = status(api, pool["name"])["memory"]
    assert memory["running"] == 2 and memory["promised_bytes"] == 2 * TEMPLATE["memory_mib"] << 20, memory
    assert {memory[k] for k in ("resident_bytes", "merging_bytes", "saved_bytes", "own_bytes")} == {None}
    assert f'drover_pool_memory_bytes{{pool="{pool["name"]}",kind="promised"}} {2 * TEMPLATE["memory_mib"] << 20}' \
        in api.get("/metrics").text


def test_bad_pools_are_refused_and_change_nothing(api, name):
    pool = name("pool")
    for body, pointer in (({}, "/vm"), ({"vm": {"cpus": 0}}, "/vm/cpus"), ({"vm": {"name": "x"}}, "/vm/name"),
                          ({"vm": {"autostart": True}}, "/vm/autostart"), ({"vm": TEMPLATE, "ready": -1}, "/ready"),
                          ({"vm": {"networks": [{"mode": "user", "mac": "02:00:00:00:00:01"}]}}, "/vm/networks/0/mac"),
                          ({"vm": TEMPLATE, "ready": 5, "max": 4}, "/ready"), ({"vm": TEMPLATE, "depth": "deep"}, "/depth"),
                          ({"vm": TEMPLATE, "ttl_seconds": 10, "max_seconds": 5}, "/ttl_seconds"),
                          ({"vm": TEMPLATE, "surprise": 1}, "/surprise"), ({"vm": 7}, "/vm")):
        response = api.put(f"/v1/pools/{pool}", body)
        assert response.code == "validation-failed" and response.json["pointer"] == pointer, (body, response)
    assert api.put(f"/v1/pools/{pool}", {"vm": {"image": "nope"}}).code == "unknown-image"
    assert api.put("/v1/pools/Not.A.Name", {"vm": TEMPLATE}).code == "invalid-argument"
    assert api.get(f"/v1/pools/{pool}").code == "pool-not-found"
    assert api.delete(f"/v1/pools/{pool}").code == "pool-not-found"


def test_a_templates_user_data_is_shown_to_those_who_may_change_it(api, daemon, make_pool, token):
    text = "#cloud-config\npassword: hidden-word\n"
    pool = make_pool(vm={**TEMPLATE, "user_data": text}, ready=0)
    path = f"/v1/pools/{pool['name']}/user-data"
    assert pool["has_user_data"] is True and "hidden-word" not in api.get("/v1/pools").body.decode()
    assert api.get(path).body.decode() == text
    viewer = daemon.client(token(role="viewer"))
    assert viewer.get(path).status == 403
    assert api.put(f"/v1/pools/{pool['name']}", {"vm": TEMPLATE, "ready": 0}).json["has_user_data"] is False
    assert api.get(path).json["code"] == "not-found"
    assert api.get("/v1/pools/nosuch/user-data").json["code"] == "pool-not-found"


def test_another_definition_replaces_those_that_wait(api, make_pool):
    pool = make_pool(ready=2, max=5)
    before = {v["id"] for v in members(api, pool)}
    changed = api.put(f"/v1/pools/{pool['name']}", {"vm": dict(TEMPLATE, memory_mib=96), "ready": 2, "max": 5})
    assert changed.status == 200 and changed.json["etag"] == "2"
    eventually(lambda: len([v for v in members(api, pool) if v["memory_mib"] == 96 and v["state"] == "running"]) == 2
               and not before & {v["id"] for v in members(api, pool)}, 30)
    stale = api.put(f"/v1/pools/{pool['name']}", {"vm": TEMPLATE}, headers={"If-Match": '"1"'})
    assert stale.status == 412


def test_a_change_that_does_not_boot_leaves_the_old_ones(api, make_pool):
    pool, new = make_pool(ready=3, max=6), dict(TEMPLATE, memory_mib=96)
    body = {"vm": new, "ready": 3, "max": 6, "ready_when": "console", "boot_seconds": 600}  # they print nothing
    assert api.put(f"/v1/pools/{pool['name']}", body).status == 200
    eventually(lambda: status(api, pool["name"])["warming"] == 1, 30)
    other = make_pool(depth="cold", max=1)
    for _ in range(5):  # the keeper looks at every claim and return
        lease = api.post("/v1/leases", {"pool": other["name"]}, wait="claimed").json
        assert api.delete(f"/v1/leases/{lease['id']}").status == 200
        eventually(lambda: gone(api, lease["vm"]["id"]), 30)
    now = status(api, pool["name"])
    assert (now["ready"], now["warming"]) == (2, 1)
    assert api.post("/v1/leases", {"pool": pool["name"]}).json["warm"], "there is always one to be had"
    assert api.put(f"/v1/pools/{pool['name']}", {**body, "ready_when": "running"}).status == 200
    eventually(lambda: status(api, pool["name"])["ready"] == 3
               and {v["memory_mib"] for v in members(api, pool) if not v["lease_id"]} == {96}, 30)


def test_nobody_gets_the_old_one_who_can_have_the_new_one(api, make_pool):
    """While a change rolls through a pool both kinds wait, for a moment: it is changed until that was seen."""
    ready, end = 12, time.monotonic() + 60
    pool, size = make_pool(ready=ready, max=30), 96

    def both_wait():
        now = [v["memory_mib"] == size for v in members(api, pool) if v["state"] == "running"]
        return sum(now) > status(api, pool["name"])["warming"] and len(now) - sum(now) > 1

    while time.monotonic() < end:
        assert api.put(f"/v1/pools/{pool['name']}", {"vm": dict(TEMPLATE, memory_mib=size), "ready": ready, "max": 30}).status == 200
        while not (seen := both_wait()) and {v["memory_mib"] for v in members(api, pool)} != {size}:
            assert time.monotonic() < end
        lease = api.post("/v1/leases", {"pool": pool["name"]}).json
        given = api.get(f"/v1/vms/{lease['vm']['id']}").json["memory_mib"]
        assert api.delete(f"/v1/leases/{lease['id']}").status == 200
        if seen:
            assert lease["warm"] and given == size
            return
        size += 1
    raise AssertionError("both kinds were never seen to wait")


def test_what_waited_for_too_long_is_replaced(api, make_pool):
    pool = make_pool(ready=2, max=4, recycle_seconds=2)
    before = {v["id"] for v in members(api, pool)}
    eventually(lambda: all(gone(api, vm) for vm in before), 60)
    assert api.put(f"/v1/pools/{pool['name']}", {"vm": TEMPLATE, "ready": 2, "max": 4}).status == 200
    wait_ready(api, pool["name"], 2)


def test_a_label_that_moves_rolls_the_pool(api, name, make_pool):
    """One after the other, so that there is always one to be had; who has one keeps it. Of depth `snapshot`: qemu/."""
    ci, images = name("ci"), [name("build") for _ in range(2)]
    for i, image in enumerate(images):
        assert api.post("/v1/images", {"name": image, "kind": "disk", "format": "raw"}).status == 201
        assert api.put(f"/v1/images/{image}/content", b"\x33" * 65536 + bytes([i])).json["state"] == "ready"
    assert api.request("PUT", f"/v1/image-labels/{ci}", {"image": images[0]}).status == 200
    pool = make_pool(vm={**TEMPLATE, "image": ci}, ready=2, max=6)
    old, new = (api.get(f"/v1/images/{image}").json["id"] for image in images)
    before = members(api, pool)
    assert {vm["image_id"] for vm in before} == {old}
    held = api.post("/v1/leases", {"pool": pool["name"]}).json
    assert api.request("PUT", f"/v1/image-labels/{ci}", {"image": images[1]}).status == 200
    eventually(lambda: status(api, pool["name"])["ready"] == 2
               and {vm["image_id"] for vm in members(api, pool) if not vm["lease_id"]} == {new}, 60, "the pool's new VMs")
    assert api.get(f"/v1/pools/{pool['name']}").json["etag"] == pool["etag"], "nobody changed the pool"
    assert api.get(f"/v1/vms/{held['vm']['id']}").json["image_id"] == old
    fresh = api.post("/v1/leases", {"pool": pool["name"]}).json
    assert fresh["warm"] and api.get(f"/v1/vms/{fresh['vm']['id']}").json["image_id"] == new
    assert api.delete(f"/v1/pools/{pool['name']}").status == 204
    for lease in (held, fresh):
        api.delete(f"/v1/leases/{lease['id']}")
    api.delete(f"/v1/image-labels/{ci}")
    for image in images:
        assert api.delete(f"/v1/images/{image}", retire=True).status == 204


def test_a_template_that_never_boots_does_not_spin(api, make_pool):
    """The test driver's guests print nothing: none of them comes as far as it is to."""
    since = api.get("/v1/events", limit=1).json["last_seq"]
    pool = make_pool(settled=False, ready=1, max=4, ready_when="console", boot_seconds=1)
    now = eventually(lambda: (lambda s: s if s["failures"] >= 3 else None)(status(api, pool["name"])), 60)
    assert "did not get ready in 1 s" in now["last_error"] and now["retry_at"] and now["ready"] == 0
    assert api.put(f"/v1/pools/{pool['name']}", {"vm": TEMPLATE, "ready": 0}).status == 200
    events = api.get("/v1/events", since=since, limit=1000).json["items"]
    said = [e for e in events if e["type"] == "pool.failing" and e["subject"]["id"] == pool["id"]]
    assert len(said) == 1 and "did not get ready in 1 s" in said[0]["data"]["reason"], "the reason, once"
    made = [moment(e["at"]) for e in events
            if e["type"] == "vm.created" and e["subject"]["name"].rsplit("-", 1)[0] == pool["name"]]
    waited = [later - earlier for earlier, later in zip(made, made[1:])]
    assert len(waited) >= 2, made
    for n, seconds in enumerate(waited):  # a second to boot, and each time twice as long until the next try
        assert seconds > 1 + 2 ** n - 0.2, waited


def test_a_pool_boots_a_few_at_a_time(api, make_pool):
    """pool_wave of them: the test driver's guests print nothing, so these stay on their way."""
    pool = make_pool(settled=False, ready=10, max=10, ready_when="console", boot_seconds=600)
    eventually(lambda: status(api, pool["name"])["warming"] == 4, 30)
    other = make_pool(depth="cold", max=1)
    for _ in range(5):  # the keeper looks at every claim and return
        lease = api.post("/v1/leases", {"pool": other["name"]}, wait="claimed").json
        assert api.delete(f"/v1/leases/{lease['id']}").status == 200
        eventually(lambda: gone(api, lease["vm"]["id"]), 30)
    assert status(api, pool["name"])["warming"] == len(members(api, pool)) == 4


def test_who_claims_comes_before_who_refills(api, make_pool):
    """While half of the pool is there, what was taken is replaced a moment after the last claim."""
    pool = make_pool(ready=2, max=4)
    before = {vm["id"] for vm in members(api, pool)}
    lease = api.post("/v1/leases", {"pool": pool["name"]}).json
    assert lease["warm"]
    new, = eventually(lambda: [vm for vm in members(api, pool) if vm["id"] not in before], 30)
    assert moment(new["created_at"]) - moment(lease["claimed_at"]) >= 0.29
    wait_ready(api, pool["name"], 2)


def test_fewer_ready_ones_when_asked_for_fewer(api, make_pool):
    pool = make_pool(ready=3, max=3)
    api.put(f"/v1/pools/{pool['name']}", {"vm": TEMPLATE, "ready": 0, "max": 3})
    eventually(lambda: not members(api, pool), 30)


def test_what_waits_cannot_be_changed_but_by_deleting_it(api, make_pool):
    pool = make_pool(ready=1)
    vm = members(api, pool)[0]
    for response in (api.post(f"/v1/vms/{vm['id']}/pause"), api.post(f"/v1/vms/{vm['id']}/stop"),
                     api.patch(f"/v1/vms/{vm['id']}", {"description": "mine"}),
                     api.post(f"/v1/vms/{vm['id']}/exec", {"argv": ["true"]}),
                     api.put(f"/v1/vms/{vm['id']}/files?path=/tmp/x", b"x")):
        assert response.code == "vm-state-conflict" and "lease" in response.json["remedy"], response
    assert api.delete(f"/v1/vms/{vm['id']}", force=True, wait=30).status == 200
    eventually(lambda: [v["id"] for v in members(api, pool) if v["state"] == "running"] not in ([], [vm["id"]]), 30)


def test_a_deleted_pool_takes_those_that_wait_with_it(api, make_pool):
    pool = make_pool(ready=2)
    lease = api.post("/v1/leases", {"pool": pool["name"]}).json
    assert api.delete(f"/v1/pools/{pool['name']}").status == 204
    eventually(lambda: [v["id"] for v in members(api, pool)] == [lease["vm"]["id"]], 30)
    assert api.delete(f"/v1/leases/{lease['id']}").json["state"] == "ended"
    eventually(lambda: gone(api, lease["vm"]["id"]), 30)


# ---- leases ----


def test_a_warm_vm_is_handed_out_and_replaced(api, make_pool):
    pool = make_pool(ready=1, max=3)
    waiting = members(api, pool)[0]
    response = api.post("/v1/leases", {"pool": pool["name"], "holder": "job 1", "labels": {"ci": "1"}, "ttl_seconds": 60})
    assert response.status == 201
    lease = response.json
    assert response.header("Location") == f"/v1/leases/{lease['id']}"
    assert lease["state"] == "active" and lease["warm"] and lease["vm"] == {"id": waiting["id"], "name": waiting["name"]}
    assert lease["holder"] == "job 1" and lease["labels"] == {"ci": "1"} and lease["claim_ms"] > 0
    assert api.get(f"/v1/vms/{waiting['id']}").json["lease_id"] == lease["id"]
    wait_ready(api, pool["name"], 1)
    now = status(api, pool["name"])
    assert now["leased"] == 1 and now["hits"] == 1 and now["misses"] == 0 and now["claim_ms_p50"] > 0
    back = api.delete(f"/v1/leases/{lease['id']}").json
    assert back["state"] == "ended" and back["end_reason"] == "released"
    assert api.delete(f"/v1/leases/{lease['id']}").json == back, "again: the same answer"
    eventually(lambda: gone(api, waiting["id"]), 30)


def test_a_cold_pool_boots_on_demand(api, make_pool):
    pool = make_pool(depth="cold", max=1)
    lease = api.post("/v1/leases", {"pool": pool["name"]}, wait="running").json
    assert not lease["warm"] and lease["state"] == "active"
    assert api.get(f"/v1/vms/{lease['vm']['id']}").json["state"] == "running"
    full = api.post("/v1/leases", {"pool": pool["name"]})
    assert full.status == 429 and full.code == "pool-exhausted" and full.header("Retry-After")
    assert status(api, pool["name"])["misses"] == 1


def test_a_snapshot_pool_keeps_saved_vms(api, make_pool):
    pool = make_pool(depth="snapshot", ready=1, max=2)
    assert [v["state"] for v in members(api, pool)] == ["saved"]
    lease = api.post("/v1/leases", {"pool": pool["name"]}, wait="running").json
    assert lease["warm"]
    assert api.get(f"/v1/vms/{lease['vm']['id']}").json["state"] == "running"


def test_a_lease_of_a_definition_of_its_own(api, make_vm, name):
    lease = api.post("/v1/leases", {"vm": dict(TEMPLATE, name=name()), "ttl_seconds": 60}, wait="running").json
    assert lease["pool"] is None and not lease["warm"]
    vm = api.get(f"/v1/vms/{lease['vm']['id']}").json
    assert vm["lease_id"] == lease["id"] and vm["pool_id"] is None
    assert api.delete(f"/v1/vms/{vm['id']}", force=True, wait=30).status == 200
    eventually(lambda: ended(api, lease))
    assert api.get(f"/v1/leases/{lease['id']}").json["end_reason"] == "vm-deleted"


def test_time_runs_out(api, make_pool):
    pool = make_pool(ready=1, max=4)
    short = api.post("/v1/leases", {"pool": pool["name"], "ttl_seconds": 1}).json
    longer = api.post("/v1/leases", {"pool": pool["name"], "ttl_seconds": 60}).json
    started = time.monotonic()
    eventually(lambda: ended(api, short), 30)
    assert time.monotonic() - started < 20, "long before the other one"
    assert api.get(f"/v1/leases/{short['id']}").json["end_reason"] == "expired"
    eventually(lambda: gone(api, short["vm"]["id"]), 30)
    assert api.get(f"/v1/leases/{longer['id']}").json["state"] == "active"
    late = api.patch(f"/v1/leases/{short['id']}", {"ttl_seconds": 60})
    assert late.code == "lease-state-conflict"


@pytest.mark.parametrize("what, before, after, asked", [
    ("stop", "running", "stopped", ["vm.stop"]), ("stop", "paused", "stopped", ["vm.stop"]), ("stop", "stopped", "stopped", []),
    ("pause", "running", "paused", ["vm.pause"]), ("pause", "paused", "paused", []), ("pause", "stopped", "stopped", [])])
def test_on_expiry_the_vm_may_stay(api, make_pool, what, before, after, asked):
    """And nobody is told to do what is so already."""
    pool = make_pool(depth="cold", max=1)
    lease = api.post("/v1/leases", {"pool": pool["name"], "ttl_seconds": 60, "on_expiry": what}, wait="running").json
    vm = f"/v1/vms/{lease['vm']['id']}"
    if before != "running":
        assert api.post(f"{vm}/{'pause' if before == 'paused' else 'stop'}", wait=30).json["state"] == "succeeded"
    known = {op["id"] for op in api.get("/v1/operations", vm=lease["vm"]["id"]).json["items"]}
    assert api.patch(f"/v1/leases/{lease['id']}", {"ttl_seconds": 1}).status == 200
    eventually(lambda: ended(api, lease) and api.get(vm).json["state"] == after, 30)
    kept = api.get(vm).json
    assert kept["lease_id"] is None and kept["pool_id"] is None
    new = [op for op in api.get("/v1/operations", vm=kept["id"]).json["items"] if op["id"] not in known]
    assert [op["kind"] for op in new] == asked
    assert status(api, pool["name"])["leased"] == 0, "its place is free"
    assert api.delete(vm, force=True, wait=30).status == 200


def test_a_kept_vm_never_comes_back_into_its_pool(fresh_daemon):
    """Nor after a restart: it is somebody's by then."""
    daemon = fresh_daemon()
    api = daemon.client()
    assert api.put("/v1/pools/left", {"vm": TEMPLATE, "ready": 1, "max": 2}).status == 201
    wait_ready(api, "left", 1)
    lease = api.post("/v1/leases", {"pool": "left", "ttl_seconds": 60, "on_expiry": "stop"}, wait="running").json
    assert api.patch(f"/v1/leases/{lease['id']}", {"ttl_seconds": 1}).status == 200
    eventually(lambda: api.get(f"/v1/vms/{lease['vm']['id']}").json["state"] == "stopped", 30)
    daemon.restart()
    api = daemon.client()
    kept = api.get(f"/v1/vms/{lease['vm']['id']}").json
    assert (kept["state"], kept["pool_id"], kept["lease_id"]) == ("stopped", None, None)
    eventually(lambda: status(api, "left")["ready"] == 1, 30)
    now = status(api, "left")
    assert (now["ready"], now["warming"], now["leased"]) == (1, 0, 0)
    assert api.get(f"/v1/vms/{lease['vm']['id']}").json["state"] == "stopped", "nobody threw it away"


def test_a_guest_that_went_off_is_idle(api, make_pool):
    """The test driver's guests use a whole CPU for as long as they are on."""
    pool = make_pool(depth="cold", max=2)
    ask = {"pool": pool["name"], "idle_seconds": 1, "on_expiry": "stop"}
    off, on = (api.post("/v1/leases", ask, wait="running").json for _ in range(2))
    vm = f"/v1/vms/{off['vm']['id']}"
    assert api.post(f"{vm}/stop", wait=30).json["state"] == "succeeded"
    eventually(lambda: ended(api, off), 30, "the lease's end")
    assert api.get(f"/v1/leases/{off['id']}").json["end_reason"] == "idle"
    assert api.get(vm).json["state"] == "stopped" and api.get(vm).json["lease_id"] is None
    later = api.post("/v1/leases", {**ask, "on_expiry": "delete"}, wait="running").json
    assert api.post(f"/v1/vms/{later['vm']['id']}/stop", wait=30).json["state"] == "succeeded"
    eventually(lambda: ended(api, later), 30, "the end of one that began later")
    assert not ended(api, on)
    assert api.delete(vm, force=True, wait=30).status == 200


def test_renewing_counts_from_now_and_has_an_end(api, make_pool):
    pool = make_pool(ready=1, max_seconds=100, ttl_seconds=50)
    lease = api.post("/v1/leases", {"pool": pool["name"]}).json
    assert lease["ttl_seconds"] == 50 and lease["max_seconds"] == 100
    renewed = api.patch(f"/v1/leases/{lease['id']}", {"ttl_seconds": 90}).json
    assert renewed["expires_at"] > lease["expires_at"] and renewed["renewed_at"]
    most = api.patch(f"/v1/leases/{lease['id']}", {"ttl_seconds": 1000}).json
    assert most["expires_at"] == most["limit_at"], "never beyond the maximum"
    moved = datetime.fromisoformat(most["limit_at"]) - datetime.fromisoformat(lease["limit_at"])
    assert abs(moved.total_seconds()) < 20, "which stays where it was, as near as clocks that are read in turns tell"
    for body, pointer in (({}, "/ttl_seconds"), ({"ttl_seconds": 0}, "/ttl_seconds"), ({"holder": "x"}, "/holder")):
        response = api.patch(f"/v1/leases/{lease['id']}", body)
        assert response.code == "validation-failed" and response.json["pointer"] == pointer


def test_bad_requests_leave_nothing_behind(api, make_pool):
    pool = make_pool(ready=1, ttl_seconds=50, max_seconds=100)
    for body, pointer in (({}, "/pool"), ({"pool": pool["name"], "vm": dict(TEMPLATE, name="a")}, "/vm"),
                          ({"pool": "nope"}, "/pool"), ({"pool": pool["name"], "ttl_seconds": 0}, "/ttl_seconds"),
                          ({"pool": pool["name"], "ttl_seconds": 101}, "/ttl_seconds"),
                          ({"pool": pool["name"], "max_seconds": 101}, "/max_seconds"),
                          ({"pool": pool["name"], "on_expiry": "explode"}, "/on_expiry"),
                          ({"pool": pool["name"], "labels": {"a": 1}}, "/labels/a"),
                          ({"vm": {"name": "a", "cpus": 0}}, "/vm/cpus"),
                          ({"vm": dict(TEMPLATE, name="a"), "queue_seconds": 5}, "/queue_seconds")):
        response = api.post("/v1/leases", body)
        assert response.code == "validation-failed" and response.json["pointer"] == pointer, (body, response)
    assert api.post("/v1/leases", {"pool": pool["name"]}, wait="coffee").code == "invalid-argument"
    assert status(api, pool["name"])["leased"] == 0
    assert api.get("/v1/leases/nope").code == "lease-not-found"
    assert api.get("/v1/leases", pool="nope").code == "invalid-argument"
    assert api.get("/v1/leases", state="odd").code == "invalid-argument"


def test_one_holder_does_not_get_all(api, make_pool):
    pool = make_pool(ready=2, max=4, per_holder=1)
    lease = api.post("/v1/leases", {"pool": pool["name"], "holder": "a"}).json
    second = api.post("/v1/leases", {"pool": pool["name"], "holder": "a"})
    assert second.status == 429 and second.code == "quota-exceeded" and "1 of the 1" in second.json["detail"]
    assert api.post("/v1/leases", {"pool": pool["name"], "holder": "b"}).status == 201
    api.delete(f"/v1/leases/{lease['id']}")
    assert api.post("/v1/leases", {"pool": pool["name"], "holder": "a"}).status == 201


def test_the_queue_is_served_in_order(api, make_pool):
    pool = make_pool(depth="cold", max=1)
    first = api.post("/v1/leases", {"pool": pool["name"]}).json
    ask = {"pool": pool["name"], "queue_seconds": 60}
    second, third = api.post("/v1/leases", ask).json, api.post("/v1/leases", ask).json
    assert (second["state"], second["queue_position"], third["queue_position"]) == ("queued", 1, 2)
    assert second["vm"] is None
    assert api.post("/v1/leases", {"pool": pool["name"]}).code == "pool-exhausted", "nobody overtakes"
    gone_back = api.delete(f"/v1/leases/{first['id']}")
    assert gone_back.status == 200 and gone_back.json["state"] == "ended", gone_back
    served = api.get(f"/v1/leases/{second['id']}", wait=30).json
    assert served["state"] == "active" and served["vm"], (served, api.get(f"/v1/leases/{third['id']}").json["state"])
    assert api.get(f"/v1/leases/{third['id']}").json["queue_position"] == 1
    gave_up = api.delete(f"/v1/leases/{third['id']}").json
    assert gave_up["state"] == "ended" and gave_up["vm"] is None


def test_nobody_in_the_queue_is_overtaken(api, make_pool):
    """A VM may be given back at any moment, also when the queue is just being looked at."""
    pool = make_pool(depth="cold", max=1)
    holding = api.post("/v1/leases", {"pool": pool["name"]}).json
    for _ in range(20):
        ask = {"pool": pool["name"], "queue_seconds": 60}
        line = [api.post("/v1/leases", ask).json for _ in range(3)]
        for one in line:
            assert api.delete(f"/v1/leases/{holding['id']}").status == 200
            holding = api.get(f"/v1/leases/{one['id']}", wait=30).json
            assert holding["state"] == "active", [api.get(f"/v1/leases/{o['id']}").json["state"] for o in line]


def test_waiting_in_line_has_an_end(api, make_pool):
    pool = make_pool(depth="cold", max=1)
    api.post("/v1/leases", {"pool": pool["name"]})
    late = api.post("/v1/leases", {"pool": pool["name"], "queue_seconds": 1}, wait="claimed", timeout=20)
    assert late.status == 409 and late.code == "lease-state-conflict" and "not-served" in late.json["detail"]


def test_one_vm_for_one_of_many(daemon, api, make_pool):
    pool = make_pool(ready=1, max=1)
    answers = []

    def ask():
        answers.append(daemon.client().post("/v1/leases", {"pool": pool["name"]}))

    threads = [threading.Thread(target=ask) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(a.status for a in answers) == [201] + [429] * 23
    assert all(a.header("Retry-After") for a in answers if a.status == 429)


def test_the_same_key_is_the_same_lease(daemon, api, make_pool):
    pool = make_pool(ready=2, max=4)
    answers = []

    def ask():
        answers.append(daemon.client().post("/v1/leases", {"pool": pool["name"]}, headers={"Idempotency-Key": "k-1"}))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {a.status for a in answers} == {201} and len({a.json["id"] for a in answers}) == 1
    assert status(api, pool["name"])["leased"] == 1
    other = api.post("/v1/leases", {"pool": pool["name"], "holder": "b"}, headers={"Idempotency-Key": "k-1"})
    assert other.code == "idempotency-key-reused"


def test_the_record_outlives_the_vm(api, make_pool):
    pool = make_pool(ready=1)
    lease = api.post("/v1/leases", {"pool": pool["name"]}).json
    api.delete(f"/v1/leases/{lease['id']}")
    eventually(lambda: gone(api, lease["vm"]["id"]), 30)
    record = api.get(f"/v1/leases/{lease['id']}/record").json
    whats = [step["what"] for step in record["timeline"]]
    assert whats.index("vm-created") < whats.index("asked") < whats.index("claimed") and whats[-2:] == ["ended", "vm-gone"]
    assert [step["at"] for step in record["timeline"]] == sorted(step["at"] for step in record["timeline"])
    assert record["exec"] == [] and record["console_tail"] == ""
    assert record["lease"]["end_reason"] == "released"
    assert record["console_log"] == f"/v1/vms/{lease['vm']['id']}/console/log"


def test_a_record_is_kept_as_long_as_is_said(fresh_daemon):
    """Two hours pass while the daemon is off: the row says so, and its janitor looks when it starts."""
    daemon = fresh_daemon(settings={"lease_keep_hours": 1})
    api = daemon.client()
    assert api.put("/v1/pools/kept", {"vm": TEMPLATE, "depth": "cold", "max": 3}).status == 201
    old, young, alive = (api.post("/v1/leases", {"pool": "kept", "ttl_seconds": 3600}, wait="running").json for _ in range(3))
    for lease in (old, young):
        assert api.delete(f"/v1/leases/{lease['id']}").status == 200
        eventually(lambda: gone(api, lease["vm"]["id"]), 30)
    records = {lease["id"]: api.get(f"/v1/leases/{lease['id']}/record").json for lease in (old, young)}
    daemon.stop()
    with closing(sqlite3.connect(daemon.state_dir / "drover.db")) as db, db:
        assert db.execute("UPDATE leases SET ended_at = ended_at - 7200000 WHERE id = ?", (old["id"],)).rowcount == 1
        less = "UPDATE leases SET record = json_remove(record, '$.exec', '$.console_tail') WHERE id = ?"
        assert db.execute(less, (young["id"],)).rowcount == 1, "as a former version wrote it"
        assert db.execute("UPDATE leases SET created_at = created_at - 7200000 WHERE id = ?", (alive["id"],)).rowcount == 1
    daemon.start()
    api = daemon.client()
    eventually(lambda: api.get(f"/v1/leases/{old['id']}/record").code == "lease-not-found", 30, "the janitor")
    assert api.get(f"/v1/leases/{young['id']}/record").json == {**records[young["id"]], "exec": [], "console_tail": ""}
    assert api.get(f"/v1/leases/{alive['id']}").json["state"] == "active", "however old it is"


def test_events_tell_the_story(api, make_pool):
    since = api.get("/v1/events", limit=1).json["last_seq"]
    pool = make_pool(ready=1)
    lease = api.post("/v1/leases", {"pool": pool["name"], "holder": "me"}).json
    api.patch(f"/v1/leases/{lease['id']}", {"ttl_seconds": 60})
    api.delete(f"/v1/leases/{lease['id']}")
    mine = [e for e in api.get("/v1/events", since=since, limit=1000).json["items"]
            if e["subject"]["id"] in (lease["id"], pool["id"])]
    assert [e["type"] for e in mine] == ["pool.created", "lease.claimed", "lease.renewed", "lease.ended"]
    assert mine[1]["data"]["warm"] is True and mine[-1]["data"]["reason"] == "released"


def test_lists_have_pages_and_filters(api, make_pool):
    pool = make_pool(depth="cold", max=5)
    leases = [api.post("/v1/leases", {"pool": pool["name"]}).json["id"] for _ in range(3)]
    api.delete(f"/v1/leases/{leases[0]}")
    page = api.get("/v1/leases", pool=pool["name"], limit=2).json
    assert [lease["id"] for lease in page["items"]] == leases[:0:-1] and page["next_cursor"]
    rest = api.get("/v1/leases", pool=pool["name"], limit=2, cursor=page["next_cursor"]).json
    assert [lease["id"] for lease in rest["items"]] == leases[:1]
    active = api.get("/v1/leases", pool=pool["name"], state="active").json["items"]
    assert {lease["id"] for lease in active} == set(leases[1:])


def test_leases_are_found_by_their_labels(api, make_pool):
    pool = make_pool(depth="cold", max=5)
    jobs = [api.post("/v1/leases", {"pool": pool["name"], "labels": {"ci.job": job, "s\"t": "ü"}}).json["id"]
            for job in ("4711", "4712")]

    def found(*labels):
        answer = api.get("/v1/leases?" + "&".join(f"label={label}" for label in labels))
        assert answer.status == 200, answer
        return {lease["id"] for lease in answer.json["items"]} & set(jobs)

    assert found("ci.job%3D4711") == {jobs[0]}
    assert found("s%22t%3D%C3%BC") == set(jobs)
    assert found("ci.job%3D4712", "s%22t%3D%C3%BC") == {jobs[1]}
    assert found("ci.job%3D4711", "s%22t%3Dx") == found("ci.job%3D47") == found("no%3D") == set()
    for wrong in ("label=4711", "label=%3D4711", "&".join(f"label=k{i}%3Dv" for i in range(9))):
        problem = api.get(f"/v1/leases?{wrong}")
        assert problem.status == 400 and problem.json["pointer"] == "label", problem


def test_a_viewer_may_look_a_ci_token_may_lease(api, daemon, make_pool, token, name):
    pool = make_pool(ready=1)
    viewer, ci = daemon.client(token("viewer")), daemon.client(token("operator", scopes=["vm:read", "lease:write"]))
    assert viewer.get("/v1/leases").status == 200 and viewer.get(f"/v1/pools/{pool['name']}").status == 200
    assert viewer.post("/v1/leases", {"pool": pool["name"]}).status == 403
    assert ci.put(f"/v1/pools/{pool['name']}", {"vm": TEMPLATE}).status == 403
    assert ci.post("/v1/leases", {"vm": dict(TEMPLATE, name=name())}).status == 403
    lease = ci.post("/v1/leases", {"pool": pool["name"]})
    assert lease.status == 201 and ci.delete(f"/v1/leases/{lease.json['id']}").status == 200


def test_metrics_count_them(api, daemon, make_pool):
    pool = make_pool(ready=1)
    lease = api.post("/v1/leases", {"pool": pool["name"]}).json
    text = daemon.client().get("/metrics").text
    assert 'drover_leases{state="active"} 1' in text
    before = int(text.split('drover_lease_ends_total{reason="released"} ')[1].split()[0])
    api.delete(f"/v1/leases/{lease['id']}")
    assert f'drover_lease_ends_total{{reason="released"}} {before + 1}' in api.get("/metrics").text
