"""Figures and merging of real guests: a QEMU that hangs, a start that does not fit, KSM at work."""
import os
import signal
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


def test_why_a_vm_does_not_merge(rig):
    if not KSM.exists():
        pytest.skip("this kernel has no KSM")
    vm = rig.create(wait="running", memory_merge=False)
    stats = eventually(lambda: (s := rig.api.get(f"/v1/vms/{vm['id']}/stats").json).get("process") and s)
    assert stats["ksm"]["cause"] == "off-for-vm" and "memory_merge" in stats["ksm"]["reason"]
    row = next(v for v in rig.api.get("/v1/ksm/density").json["vms"] if v["vm_id"] == vm["id"])
    assert row["ksm"]["cause"] == "off-for-vm"
