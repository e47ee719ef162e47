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
