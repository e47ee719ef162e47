"""Figures and merging of real guests: a QEMU that hangs, a start that does not fit, KSM at work."""
import os
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rig import eventually, qemu_pid

KSM = Path("/sys/kernel/mm/ksm")


def test_one_hung_vm_delays_nobody(fresh_rig):
    rig = fresh_rig(settings={"dear_sample_interval_ms": 500, "sample_budget_percent": 100})
    hung, well = rig.create(wait="running"), rig.create(wait="running")

    def stats(vm):
        return rig.api.get(f"/v1/vms/{vm['id']}/stats").json

    for vm in (hung, well):
        eventually(lambda vm=vm: "hypervisor_sampled_at" in stats(vm) and "process_sampled_at" in stats(vm))
    pid = stats(hung)["process"]["pid"]
    assert pid == qemu_pid(hung["id"])
    os.kill(pid, signal.SIGSTOP)
    try:
        eventually(lambda: stats(hung)["stale"], 60, "the hung VM is marked")
        assert stats(hung)["stale_reason"] == "QEMU does not answer"
        before = stats(well)
        for figure in ("process_sampled_at", "hypervisor_sampled_at"):
            eventually(lambda f=figure: stats(well)[f] > before[f], 30, figure)
        assert not stats(well)["stale"]
        # What the kernel says about the hung one goes on, too.
        at = stats(hung)["process_sampled_at"]
        eventually(lambda: stats(hung)["process_sampled_at"] > at, 30)
    finally:
        os.kill(pid, signal.SIGCONT)
    eventually(lambda: not stats(hung)["stale"], 60, "it recovers")


def test_figures_end_with_the_process_and_begin_with_the_next(rig):
    vm = rig.create(wait="running")
    path = f"/v1/vms/{vm['id']}"
    first = eventually(lambda: rig.api.get(path + "/stats").json.get("process"))["pid"]
    assert rig.api.post(path + "/stop", wait=30).json["state"] == "succeeded"
    eventually(lambda: rig.api.get(path + "/stats").json["sampled_at"] is None)
    assert rig.api.post(path + "/start", wait=60).json["state"] == "succeeded"
    second = eventually(lambda: rig.api.get(path + "/stats").json.get("process"))["pid"]
    assert second != first and second == qemu_pid(vm["id"])


def test_a_start_that_does_not_fit_is_refused_with_the_arithmetic(fresh_rig):
    rig = fresh_rig(settings={"memory_reserve_mib": 1048576})
    answer = rig.api.post("/v1/vms", {"name": "big", "memory_mib": 64, "acceleration": "emulated", "start": True})
    assert answer.status == 409 and answer.code == "insufficient-memory", answer
    assert "big needs 96 MiB" in answer.json["detail"] and "1048576 MiB are kept free" in answer.json["detail"]
    assert rig.api.get("/v1/vms/big").status == 404, "nothing was made"
    assert rig.api.post("/v1/vms", {"name": "big", "memory_mib": 64, "start": False}).status == 201
    assert rig.api.post("/v1/vms/big/start").code == "insufficient-memory"
    assert rig.api.get("/v1/vms/big").json["state"] == "stopped"


def promise_limit(rig, mib):
    """Settings under which so many MiB may be promised, give or take what a percent is."""
    total = rig.api.get("/v1/ksm/density").json["host"]["total_bytes"] >> 20
    return max(1, round(100 * mib / total)), total / 100


def test_a_start_in_line_begins_when_there_is_room(fresh_rig):
    percent, step = promise_limit(fresh_rig(), 600)
    limit = int(percent * step)
    rig = fresh_rig(settings={"memory_overcommit_percent": percent, "memory_reserve_mib": 0})
    first = rig.create(wait="running", memory_mib=limit - 100)
    second = rig.create(start=False, memory_mib=200)
    path = f"/v1/vms/{second['id']}/start"
    refused = rig.api.post(path)
    assert refused.code == "insufficient-memory" and "memory_overcommit_percent" in refused.json["detail"]
    assert rig.api.post(path, queue_seconds="soon").json["pointer"] == "queue_seconds"
    late = rig.api.post(path, queue_seconds=1, patience=30)
    assert late.status == 409 and late.code == "insufficient-memory"
    assert re.match(r"after [1-9] s in line: ", late.json["detail"]), late.json
    assert rig.vm(second["id"])["state"] == "stopped", "nothing was changed"
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(rig.client().post, path, queue_seconds=120, wait=60, patience=200)
        made = pool.submit(rig.client().post, "/v1/vms", {
            "name": "third", "memory_mib": 128, "acceleration": "emulated", "networks": [], "start": True},
                           queue_seconds=120, patience=200)
        eventually(lambda: "drover_http_requests_parked 2" in rig.api.get("/metrics").text, 60, "both wait")
        assert rig.vm(second["id"])["state"] == "stopped" and rig.api.get("/v1/vms/third").status == 404
        rig.act(first["id"], "stop")
        assert waiting.result(200).json["state"] == "succeeded"
        answer = made.result(200)
    assert answer.status == 201 and answer.json["name"] == "third", answer
    rig.made.append(answer.json["id"])


def test_dirty_rate(rig):
    vm = rig.create(wait="running", memory_mib=32)
    path = f"/v1/vms/{vm['id']}/dirty-rate"
    before = time.time()
    found = rig.api.post(path, {"seconds": 1}, patience=60)
    assert found.status == 200, found
    assert found.json["vm_id"] == vm["id"] and found.json["seconds"] == 1
    assert 0 <= found.json["bytes_per_second"] < 1 << 40 and time.time() - before >= 1
    for bad, pointer in (({"seconds": 0}, "/seconds"), ({"seconds": 61}, "/seconds"), ({"minutes": 1}, "/minutes")):
        answer = rig.api.post(path, bad)
        assert answer.code == "validation-failed" and answer.json["pointer"] == pointer, answer
    rig.act(vm["id"], "stop")
    assert rig.api.post(path, {}).code == "vm-state-conflict"


def test_what_is_missing_is_said(rig):
    vm = rig.create(wait="running")
    stats = eventually(lambda: (s := rig.api.get(f"/v1/vms/{vm['id']}/stats").json).get("hypervisor_sampled_at") and s)
    reasons = {m["figures"]: m["reason"] for m in stats["missing"]}
    assert "guest agent" in reasons["guest"] and "guest" not in stats
    assert "missing" not in rig.api.get("/v1/stats").json["items"][0], "said of one VM, not of all every second"


def test_what_the_guest_says_of_itself(fresh_rig):
    rig = fresh_rig(settings={"guest_sample_interval_seconds": 1})
    vm = rig.create("demo", memory_mib=96, guest_agent=True, wait="agent")

    def guest():
        return rig.api.get(f"/v1/vms/{vm['id']}/stats").json.get("guest")

    first = eventually(guest, 60, "the guest's figures")
    assert len(first["load"]) == 3 and all(v >= 0 for v in first["load"]), first
    eventually(lambda: guest()["sampled_at"] > first["sampled_at"], 60, "newer ones")
    assert "guest" not in [m["figures"] for m in rig.api.get(f"/v1/vms/{vm['id']}/stats").json["missing"]]


def test_why_a_vm_does_not_merge(rig):
    if not KSM.exists():
        pytest.skip("this kernel has no KSM")
    vm = rig.create(wait="running", memory_merge=False)
    stats = eventually(lambda: (s := rig.api.get(f"/v1/vms/{vm['id']}/stats").json).get("process") and s)
    assert stats["ksm"]["cause"] == "off-for-vm" and "memory_merge" in stats["ksm"]["reason"]
    row = next(v for v in rig.api.get("/v1/ksm/density").json["vms"] if v["vm_id"] == vm["id"])
    assert row["ksm"]["cause"] == "off-for-vm"
