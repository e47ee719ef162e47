"""Pools of real guests: one that runs is handed out, answers at once, and is gone afterwards."""
import os
import sqlite3
import time
from contextlib import closing
from datetime import datetime

import guests
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
    # What it costs, once the sampler has seen its QEMU.
    cost = eventually(lambda: (m := memory(rig, pool))["resident_bytes"] and m, SLOW, "figures of its memory")
    assert cost["running"] >= 1 and cost["promised_bytes"] == cost["running"] * 16 << 20, cost
    assert cost["resident_bytes"] > 1 << 20 and cost["own_bytes"] == cost["resident_bytes"] - cost["saved_bytes"], cost
    assert cost["merging_bytes"] >= 0, cost
    with rig.console(lease["vm"]["id"]) as c:
        c.send(b"hello")
        c.expect(b"hello")
    assert rig.api.delete(f"/v1/leases/{lease['id']}").json["end_reason"] == "released"
    assert rig.api.delete(f"/v1/pools/{pool}").status == 204
    eventually(lambda: rig.api.get(f"/v1/vms/{lease['vm']['id']}").status == 404, SLOW, "its end")
    assert not processes(lease["vm"]["id"])
    eventually(lambda: not [v for v in rig.api.get("/v1/vms").json["items"] if v["pool_id"]], SLOW, "an empty pool")


def memory(rig, pool):
    return rig.api.get(f"/v1/pools/{pool}").json["status"]["memory"]


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


def known_lease(rig, known):
    return rig.api.get(f"/v1/leases/{known['id']}").json


def moment(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def drop(rig, pool):
    for lease in rig.api.get("/v1/leases", pool=pool, limit=100).json["items"]:
        rig.api.delete(f"/v1/leases/{lease['id']}")
    assert rig.api.delete(f"/v1/pools/{pool}").status == 204
    eventually(lambda: not [v for v in rig.api.get("/v1/vms").json["items"] if v["pool_id"]], SLOW, "an empty pool")


def test_who_finds_the_host_full_may_wait_in_line(rig):
    much = {"memory_mib": 4194304, "acceleration": "emulated", "networks": []}
    assert rig.api.put("/v1/pools/much", {"vm": much, "depth": "cold", "max": 4}).status == 201
    refused = rig.api.post("/v1/leases", {"pool": "much"})
    assert refused.code == "insufficient-memory", refused
    first, second = (rig.api.post("/v1/leases", {"pool": "much", "queue_seconds": 600}) for _ in range(2))
    assert [a.status for a in (first, second)] == [201, 201], (first, second)
    assert [a.json["queue_position"] for a in (first, second)] == [1, 2]
    assert rig.api.delete(f"/v1/leases/{first.json['id']}").json["state"] == "ended"
    assert rig.api.get(f"/v1/leases/{second.json['id']}").json["queue_position"] == 1
    drop(rig, "much")


def test_a_lease_is_waited_for_until_its_guest_is_ready(rig):
    rig.ensure_image("hello")
    vm = {"image": "hello", "memory_mib": 16, "acceleration": "emulated", "networks": [], "ready_pattern": "."}
    assert rig.api.put("/v1/pools/soon", {"vm": vm, "depth": "cold", "max": 1}).status == 201
    lease = rig.api.post("/v1/leases", {"pool": "soon"}, wait="ready", timeout=60, patience=90)
    assert lease.status == 201 and rig.vm(lease.json["vm"]["id"])["ready_at"], lease
    drop(rig, "soon")


def begin(rig, vm, *argv):
    """A program that nobody waits for: its path."""
    begun = rig.api.post(f"/v1/vms/{vm['id']}/exec", {"argv": argv, "stream": True, "timeout_seconds": SLOW}, patience=SLOW)
    assert begun.status == 201, begun
    return f"/v1/vms/{vm['id']}/exec/{begun.json['id']}"


def test_who_is_in_use_does_not_idle(rig, demo_image):
    """One is watched, one runs a program that only waits, and then nobody does anything."""
    rig.ensure_image("demo")
    vm = {"image": "demo", "memory_mib": 96, "acceleration": "emulated", "guest_agent": True, "networks": [],
          "ready_pattern": "root@"}
    assert rig.api.put("/v1/pools/calm", {"vm": vm, "depth": "booted", "ready": 2, "max": 2, "ready_when": "ready",
                                          "boot_seconds": SLOW}).status == 201
    eventually(lambda: ready(rig, "calm") == 2, SLOW, "two that wait")
    ask = {"pool": "calm", "ttl_seconds": 3600, "idle_seconds": 6}
    watched, asked = (rig.api.post("/v1/leases", ask).json for _ in range(2))
    with rig.console(watched["vm"]["id"]):
        with rig.console(asked["vm"]["id"]):
            for lease in (watched, asked):
                there = rig.api.get(f"/v1/vms/{lease['vm']['id']}/wait", **{"for": "agent"}, timeout=SLOW, patience=2 * SLOW)
                assert there.status == 200, there
            waits, prints = begin(rig, asked["vm"], "sleep", "8"), begin(rig, watched["vm"], "sh", "-c", "echo here; exit 5")
        for program in (waits, prints):
            eventually(lambda: rig.api.get(program).json["state"] == "ended", SLOW, "the program's end")
        kept, = rig.api.get(f"/v1/leases/{watched['id']}/record").json["exec"]
        assert (kept["exit_code"], kept["stdout_tail"]) == (5, "here\n"), kept
    for lease in (watched, asked):
        eventually(lambda: known_lease(rig, lease)["end_reason"] == "idle", SLOW, "its end")
        ended = known_lease(rig, lease)
        assert moment(ended["ended_at"]) - moment(ended["claimed_at"]) > 8
    drop(rig, "calm")


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


def test_memory_that_cannot_be_restored_is_given_up(fresh_rig):
    """The VM that was claimed boots instead, and the pool makes another template and says why."""
    rig = fresh_rig()
    rig.expect_warning("cannot be restored|did not get ready")
    rig.ensure_image("hello")
    assert rig.api.put("/v1/pools/spoilt", definition("hello", networks=[{"mode": "user"}])).status == 201
    eventually(lambda: ready(rig, "spoilt") == 2, SLOW, "two VMs that wait")
    first = snapshot(rig, "spoilt")["template_id"]
    macs = {v["networks"][0]["mac"] for v in members(rig, "spoilt")}
    assert len(macs) == 1, "the guest has it in its memory: we do not say otherwise"
    saved = next((rig.state_dir / "libvirt/lib/qemu/save").iterdir())
    saved.write_bytes(saved.read_bytes()[:200000])
    lease = claim(rig, "spoilt")
    vm = rig.vm(lease["vm"]["id"])
    assert vm["template_id"] is None and processes(vm["id"])
    with rig.console(vm["id"]) as c:
        c.expect(b"Hello from")
    eventually(lambda: snapshot(rig, "spoilt")["template_id"] not in (None, first), SLOW, "another template")
    eventually(lambda: ready(rig, "spoilt") == 2, SLOW, "two VMs that wait again")
    again = claim(rig, "spoilt")
    assert rig.vm(again["vm"]["id"])["template_id"] == snapshot(rig, "spoilt")["template_id"]
    drop(rig, "spoilt")


def test_another_qemu_is_another_template(fresh_rig):
    """Memory is only given to what wrote it: the daemon comes back on a host where something has changed."""
    rig = fresh_rig()
    rig.ensure_image("hello")
    assert rig.api.put("/v1/pools/changed", definition("hello")).status == 201
    eventually(lambda: ready(rig, "changed") == 2, SLOW, "two VMs that wait")
    first, lease = snapshot(rig, "changed")["template_id"], claim(rig, "changed")
    rig.stop()
    rig.start()
    eventually(lambda: ready(rig, "changed") == 2, SLOW, "those that wait still do")
    assert snapshot(rig, "changed")["template_id"] == first
    rig.stop()
    with closing(sqlite3.connect(rig.state_dir / "drover.db")) as db, db:
        assert db.execute("UPDATE vms SET template_key = 'QEMU 1.0' WHERE template_key <> ''").rowcount == 1
    rig.start()
    eventually(lambda: snapshot(rig, "changed")["template_id"] not in (None, first), SLOW, "another template")
    assert rig.vm(first)["id"] == first, "its disks are still stood upon"
    with rig.console(lease["vm"]["id"]) as c:
        c.send(b"never mind")
        c.expect(b"never mind")
    rig.api.delete(f"/v1/leases/{lease['id']}")
    eventually(lambda: rig.api.get(f"/v1/vms/{first}").status == 404, SLOW, "the end of the old template")
    eventually(lambda: ready(rig, "changed") == 2, SLOW, "two VMs that wait")
    drop(rig, "changed")


@pytest.mark.skipif(not os.environ.get("DROVER_TEST_LONG"), reason="only with --long")
def test_a_label_that_moves_is_another_template(rig):
    """What is claimed has the new image's memory and disk; who was there before keeps what he has."""
    rig.ensure_image("hello")
    path = guests.write(rig.state_dir / "newer", ["hello"], mib=1)["hello"]
    assert rig.api.post("/v1/images", {"name": "newer", "kind": "disk", "format": "raw"}).status == 201
    assert rig.api.put("/v1/images/newer/content", path.read_bytes()[:-1] + b"\x55").status == 200
    assert rig.api.request("PUT", "/v1/image-labels/tested", {"image": "hello"}).status == 200
    assert rig.api.put("/v1/pools/rolls", {**definition("tested"), "ready": 1}).status == 201
    eventually(lambda: ready(rig, "rolls") == 1, SLOW, "a VM that waits")
    first, old = snapshot(rig, "rolls")["template_id"], claim(rig, "rolls")
    assert rig.api.request("PUT", "/v1/image-labels/tested", {"image": "newer"}).status == 200
    newer = rig.api.get("/v1/images/newer").json["id"]
    eventually(lambda: [v["image_id"] for v in members(rig, "rolls") if v["template_id"] not in (None, first)] == [newer]
               and ready(rig, "rolls") == 1, SLOW, "one of the new image that waits")
    new = claim(rig, "rolls")
    assert rig.vm(new["vm"]["id"])["image_id"] == newer and rig.vm(old["vm"]["id"])["template_id"] == first
    for lease in (old, new):
        with rig.console(lease["vm"]["id"]) as c:
            c.send(b"which")
            c.expect(b"which")
    drop(rig, "rolls")
    eventually(lambda: rig.api.get(f"/v1/vms/{first}").status == 404, SLOW, "the end of the old template")
    assert rig.api.delete("/v1/image-labels/tested").status == 204 and rig.api.delete("/v1/images/newer").status == 204


def test_a_linux_guest_goes_on_where_its_template_was(rig, demo_image):
    """It boots once; each that is claimed has its memory, and its kernel a name, a time and randomness of its own."""
    rig.ensure_image("demo")
    body = definition("demo", memory_mib=96, guest_agent=True, ready_pattern="root@demo:", networks=[{"mode": "user"}])
    assert rig.api.put("/v1/pools/linux", {**body, "ready_when": "ready", "ready": 1}).status == 201
    eventually(lambda: ready(rig, "linux") == 1, SLOW, "a VM that waits")
    template = rig.vm(snapshot(rig, "linux")["template_id"])
    boots = []
    for _ in range(2):
        lease = claim(rig, "linux")
        vm = rig.vm(lease["vm"]["id"])
        assert vm["ready_at"] and vm["template_id"] == template["id"]
        name = lambda: run(rig, vm, "cat /proc/sys/kernel/hostname")  # noqa: E731
        eventually(lambda: name() == vm["name"], SLOW, "a host name of its own", every=0.5)
        assert run(rig, vm, "cat /sys/class/net/eth0/address") == vm["networks"][0]["mac"]
        eventually(lambda: abs(int(run(rig, vm, "date +%s")) - time.time()) < 30, SLOW, "the right time", every=0.5)
        # Linux takes what it was given into its generator when the seed is half as old as the machine.
        uptime = lambda: float(run(rig, vm, "cat /proc/uptime").split()[0])  # noqa: E731
        old = uptime()
        # Asked a few times only, however slow the machine: a record keeps the newest 32 programs.
        eventually(lambda: uptime() > 2 * old + 1, SLOW, "another seed", every=max(0.5, old / 6))
        boots.append(run(rig, vm, "cat /proc/sys/kernel/random/boot_id"))
        with rig.console(vm["id"]) as c:
            c.send(b"\n")
            c.expect(b"root@")
    assert boots[0] != boots[1], "drawn when first read: from randomness that only this guest has"
    # A lease that ends before the sampler saw its VM has no figures.
    eventually(lambda: rig.api.get(f"/v1/leases/{lease['id']}/record").json["usage"], 30, "its figures")
    rig.api.delete(f"/v1/leases/{lease['id']}")
    eventually(lambda: rig.api.get(f"/v1/vms/{vm['id']}").status == 404, SLOW, "its end")
    record = lambda: rig.api.get(f"/v1/leases/{lease['id']}/record").json  # noqa: E731
    eventually(lambda: record()["timeline"][-1]["what"] == "vm-gone", 30, "the last line of its record")
    check_record(record(), vm)
    drop(rig, "linux")


def check_record(record, vm):
    """What was asked of the VM and what it printed is still there when it is not."""
    whats = [step["what"] for step in record["timeline"]]
    assert whats[0] == "vm-created" and whats[-2:] == ["ended", "vm-gone"], whats
    assert {"asked", "claimed", "vm-started", "first-output", "ready", "exec"} < set(whats)
    ran = record["exec"][0]
    assert "hostname" in ran["command"] and ran["exit_code"] == 0 and record["exec"][-1]["stdout_tail"].count("-") == 4
    assert vm["name"] in [e["stdout_tail"].strip() for e in record["exec"]]
    assert "root@" in record["console_tail"]
    assert record["usage"]["cpu_seconds"] > 0 and record["usage"]["peak_resident_bytes"] > 1 << 20


def run(rig, vm, command):
    answer = rig.api.post(f"/v1/vms/{vm['id']}/exec", {"argv": ["/bin/sh", "-c", command]}, wait=60, patience=90)
    assert answer.status == 200 and answer.json["exit_code"] == 0, answer
    return answer.json["stdout"].strip()
