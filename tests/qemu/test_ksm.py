"""Merging that really happens: two Linux guests of one image, ksmd, and the tuner that drives it."""
import fcntl
import json
import os
import re
from pathlib import Path

import pytest

from rig import eventually, qemu_pid

KSM = Path("/sys/kernel/mm/ksm")
CLAIM = Path("/run/drover-ksm")  # locked by whoever turns the knobs
MIB = 1 << 20
pytestmark = pytest.mark.skipif(not os.access(KSM / "run", os.W_OK), reason="needs a kernel with KSM, and root")


def kernel_says(vm):
    """What /proc has about the VM's process: pages merged with others, and empty ones."""
    text = Path(f"/proc/{qemu_pid(vm)}/ksm_stat").read_text()
    return {name: int(value) for name, value in re.findall(r"^(\w+) (\d+)$", text, re.M)}


def close(ours, theirs, share):
    return abs(ours - theirs) <= share * max(ours, theirs)


def metric(rig, name):
    return float(re.search(rf"^{name} (\S+)$", rig.api.get("/metrics").text, re.M)[1])


def test_guests_of_one_image_share_memory_and_the_host_is_left_as_it_was(fresh_rig):
    rig = fresh_rig(settings={"ksm_tuner": "auto"})
    vms = [rig.create("demo", memory_mib=128, wait="console")["id"] for _ in range(2)]
    apart = rig.create(wait="running", memory_merge=False)["id"]

    def tuner():
        return rig.api.get("/v1/ksm").json["tuner"]

    eventually(lambda: tuner()["phase"] in ("boost", "steady", "trickle", "unable", "yielded"), 60, "the tuner's turn")
    if tuner()["phase"] in ("unable", "yielded"):
        pytest.skip("the knobs are in other hands here: " + tuner()["reason"])
    found = tuner()["found"]
    assert "run" in found and "sleep_millisecs" in found, found

    def group():
        density = rig.api.get("/v1/ksm/density").json
        return next(g for g in density["groups"] if g.get("name") == "demo")

    eventually(lambda: group()["saved_bytes"] > 24 * MIB, 180, "24 MiB less")
    # The kernel's own words, for each process and the host; they change while one reads.
    for vm in vms:
        def agrees(vm=vm):
            ksm, kernel = rig.api.get(f"/v1/vms/{vm}/stats").json["ksm"], kernel_says(vm)
            return ksm["cause"] == "merging" and ksm["merging_pages"] > 0 and \
                close(ksm["merging_pages"], kernel["ksm_merging_pages"], 0.02) and \
                ksm["merging_bytes"] == ksm["merging_pages"] * os.sysconf("SC_PAGE_SIZE")
        eventually(agrees, 60, "the figures of the process")
    alone = eventually(lambda: rig.api.get(f"/v1/vms/{apart}/stats").json.get("ksm"), 30, "figures of the third")
    assert alone["cause"] == "off-for-vm" and not kernel_says(apart).get("ksm_merging_pages"), alone

    def host_agrees():
        ksm = rig.api.get("/v1/ksm").json
        places = sum(int((KSM / name).read_text()) for name in ("pages_sharing", "ksm_zero_pages") if (KSM / name).exists())
        return close(ksm["saved_bytes"], places * ksm["page_size_bytes"], 0.02) and \
            close(metric(rig, "drover_ksm_saved_bytes"), ksm["saved_bytes"], 0.02)
    eventually(host_agrees, 60, "the host's figures, everywhere the same")

    # Less than half of a guest is its own, and so more of them fit.
    fits = group()["fits_more"]
    assert fits["own_bytes_each"] < fits["resident_bytes_each"] and fits["count"] > 0, fits
    host = rig.api.get("/v1/ksm/density").json["host"]
    assert host["needed_without_ksm_bytes"] - host["used_bytes"] > 20 * MIB, host
    assert rig.api.get("/v1/ksm").json["ksmd_cpu_seconds_per_saved_mib"] > 0

    # Live and kept.
    stream = rig.api.sse("/v1/stats")
    _, tick = next(stream)
    stream.close()
    assert tick["host"]["ksm_saved_bytes"] > 20 * MIB
    assert {i["ksm_cause"] for i in tick["items"]} == {"merging", "off-for-vm"}

    def kept(path, figure):
        return [v for v in rig.api.get(path).json["figures"].get(figure, {}).get("mean", []) if v]
    eventually(lambda: max(kept("/v1/host/history", "ksm_saved_bytes"), default=0) > 20 * MIB, 30, "the host's history")
    eventually(lambda: kept(f"/v1/vms/{vms[0]}/stats/history", "ksm_merging_bytes"), 30, "the VM's history")

    # Every decision has a reason, and the log has them all.
    told = [e["data"] for e in rig.api.get("/v1/events", limit=1000).json["items"] if e["type"] == "ksm.tuner"]
    assert "boost" in [t["phase"] for t in told] and all(t["reason"] for t in told), json.dumps(told)
    assert [d["phase"] for d in tuner()["decisions"]][::-1][:len(told)] == [t["phase"] for t in told][:8], told

    # Nobody is left to merge: the knobs are as they were, while the daemon goes on.
    for vm in vms:
        rig.delete(vm)
    eventually(lambda: tuner()["phase"] == "idle" and tuner()["found"] is None, 60, "the tuner lets go")
    with open(CLAIM, "rb") as claim:
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # another Drover of this host has them already
        assert {name: int((KSM / name).read_text()) for name in found} == found
