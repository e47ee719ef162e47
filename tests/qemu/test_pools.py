"""Pools of real guests: one that runs is handed out, answers at once, and is gone afterwards."""
import pytest
from rig import SLOW, eventually, processes


def ready(rig, name):
    return rig.api.get(f"/v1/pools/{name}").json["status"]["ready"]


@pytest.mark.parametrize("depth", ["booted", "snapshot"])
def test_what_waited_answers_and_is_gone_afterwards(rig, depth):
    rig.ensure_image("hello")
    pool = f"pool-{depth}"
    made = rig.api.put(f"/v1/pools/{pool}", {
        "vm": {"image": "hello", "memory_mib": 16, "acceleration": "emulated", "networks": []},
        "depth": depth, "ready_when": "console", "ready": 1, "max": 2})
    assert made.status == 201, made
    eventually(lambda: ready(rig, pool) == 1, SLOW, "a VM that waits")
    lease = rig.api.post("/v1/leases", {"pool": pool}, wait="running", timeout=60, patience=90).json
    assert lease["warm"] and lease["vm"], lease
    with rig.console(lease["vm"]["id"]) as c:
        c.send(b"hello")
        c.expect(b"hello")
    assert rig.api.delete(f"/v1/leases/{lease['id']}").json["end_reason"] == "released"
    assert rig.api.delete(f"/v1/pools/{pool}").status == 204
    eventually(lambda: rig.api.get(f"/v1/vms/{lease['vm']['id']}").status == 404, SLOW, "its end")
    assert not processes(lease["vm"]["id"])
    eventually(lambda: not [v for v in rig.api.get("/v1/vms").json["items"] if v["pool_id"]], SLOW, "an empty pool")


def definition(image, **vm):
    return {"vm": {"image": image, "memory_mib": 16, "acceleration": "emulated", "networks": [], **vm},
            "depth": "snapshot", "ready_when": "console", "ready": 2, "max": 4}


def snapshot(rig, pool):
    return rig.api.get(f"/v1/pools/{pool}").json["status"]["snapshot"]


def claim(rig, pool):
    lease = rig.api.post("/v1/leases", {"pool": pool}, wait="running", timeout=60, patience=90)
    assert lease.status == 201, lease
    return lease.json


def members(rig, pool):
    pool = rig.api.get(f"/v1/pools/{pool}").json["id"]
    return [v for v in rig.api.get("/v1/vms", limit=1000).json["items"] if v["pool_id"] == pool]


def drop(rig, pool):
    for lease in rig.api.get("/v1/leases", pool=pool, limit=100).json["items"]:
        rig.api.delete(f"/v1/leases/{lease['id']}")
    assert rig.api.delete(f"/v1/pools/{pool}").status == 204
    eventually(lambda: not [v for v in rig.api.get("/v1/vms").json["items"] if v["pool_id"]], SLOW, "an empty pool")


@pytest.mark.parametrize("acceleration", ["emulated", "kvm"])
def test_many_begin_with_the_memory_of_one(rig, acceleration, request):
    """One boots and is saved; the others are it from then on, each with disks and a name of its own."""
    if acceleration == "kvm":
        request.getfixturevalue("need_kvm")
    rig.ensure_image("hello")
    pool = f"pool-shared-{acceleration}"
    assert rig.api.put(f"/v1/pools/{pool}", definition("hello", acceleration=acceleration, disks=[{"size_gib": 1}])).status == 201
    eventually(lambda: ready(rig, pool) == 2, SLOW, "two VMs that wait")
    shared = snapshot(rig, pool)
    assert shared["shared"] and shared["memory_bytes"] > 100000 and shared["saved_at"] and shared["reason"] is None
    template = shared["template_id"]
    assert sorted(v["template_id"] or "" for v in members(rig, pool)) == ["", template, template]
    assert all(v["state"] == "saved" for v in members(rig, pool)), "memory is what waiting must not cost"
    assert not [v for v in members(rig, pool) if processes(v["id"])]
    refused = rig.api.delete(f"/v1/vms/{template}", force=True)
    assert refused.code == "vm-state-conflict" and "template" in refused.json["detail"]
    leases = [claim(rig, pool) for _ in range(3)]
    ids = [lease["vm"]["id"] for lease in leases]
    assert template not in ids and len(set(ids)) == 3 and all(processes(i) for i in ids)
    for lease in leases:
        vm = rig.vm(lease["vm"]["id"])
        assert vm["template_id"] == template and vm["started_at"] and vm["effective_acceleration"] == acceleration
        with rig.console(vm["id"]) as c:
            c.send(b"still here")
            c.expect(b"still here")
    assert rig.api.delete(f"/v1/leases/{leases[0]['id']}").status == 200
    eventually(lambda: rig.api.get(f"/v1/vms/{ids[0]}").status == 404, SLOW, "its end")
    drop(rig, pool)
    assert rig.api.get(f"/v1/vms/{template}").status == 404 and not processes(str(rig.state_dir))
    assert not list((rig.state_dir / "vms").iterdir()) and not list((rig.state_dir / "libvirt/lib/qemu/save").iterdir())
