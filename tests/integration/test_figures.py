"""Statistics, KSM, metrics, the host."""
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

KSM = Path("/sys/kernel/mm/ksm")


def test_stats_of_a_running_vm(api, make_vm, wait_until):
    vm = make_vm(start=True, memory_mib=128)
    stats = wait_until(lambda: (s := api.get(f"/v1/vms/{vm['id']}/stats").json)["sampled_at"] and s, what="a sample")
    assert stats["vm_id"] == vm["id"] and not stats["stale"]
    # The test driver of Debian 12's libvirt counts nothing: then members are absent, not 0.
    assert stats["cpu"].get("vcpus", 1) == 1 and stats["cpu"].get("usage_seconds", 0) >= 0
    assert stats["memory"].get("maximum_bytes", 128 << 20) == 128 << 20
    assert vm["id"] in [s["vm_id"] for s in api.get("/v1/stats").json["items"]]


def test_stats_of_a_stopped_vm_are_absent_not_zero(api, make_vm):
    stats = api.get(f"/v1/vms/{make_vm()['id']}/stats").json
    assert stats["sampled_at"] is None and "stopped" in stats["reason"]
    assert "cpu" not in stats and "memory" not in stats
    assert api.get("/v1/vms/nobody/stats").code == "vm-not-found"


def test_samples_go_on(api, make_vm, wait_until):
    make_vm(start=True)
    first = wait_until(lambda: api.get("/v1/stats").json["sampled_at"], what="a sample")
    wait_until(lambda: api.get("/v1/stats").json["sampled_at"] > first, what="the next sample")


def test_ksm_has_the_kernels_figures(api):
    ksm = api.get("/v1/ksm").json
    assert ksm["available"] == KSM.exists()
    if not KSM.exists():
        assert ksm["counters"] == {} and ksm["knobs"] == {}
        return
    names = set(ksm["counters"]) | set(ksm["knobs"])
    assert {"pages_shared", "pages_sharing", "run"} <= names
    assert names <= {p.name for p in KSM.iterdir()}
    saved = ksm["counters"]["pages_sharing"] + ksm["counters"].get("ksm_zero_pages", 0)
    assert ksm["saved_bytes"] == saved * ksm["page_size_bytes"]


def test_ksm_knobs_are_written(api, daemon, wait_until):
    if not (KSM / "sleep_millisecs").exists() or not (KSM / "sleep_millisecs").stat().st_mode & 0o200:
        pytest.skip("this kernel has no KSM")
    before = int((KSM / "sleep_millisecs").read_text())
    try:
        assert api.patch("/v1/ksm", {"tuner": {"mode": "auto"}}).json["tuner"]["mode"] == "auto"
        refused = api.patch("/v1/ksm", {"knobs": {"sleep_millisecs": before + 7}})
        assert refused.code == "ksm-tuner-busy" and refused.json["pointer"] == "/knobs/sleep_millisecs"
        # What the kernel refuses changes nothing, nor who turns the knobs.
        assert api.patch("/v1/ksm", {"tuner": {"mode": "off"}, "knobs": {"run": 77}}).status >= 400
        assert api.patch("/v1/ksm", {"knobs": {"sleep_millisecs": before + 7}}).code == "ksm-tuner-busy"
        response = api.patch("/v1/ksm", {"tuner": {"mode": "off"}, "knobs": {"sleep_millisecs": before + 7}})
        if response.status != 200:
            assert response.code in ("not-supported-by-host", "system"), response
            pytest.skip(f"the kernel refuses the write here: {response.json['detail']}")
        assert response.json["knobs"]["sleep_millisecs"] == before + 7
        assert int((KSM / "sleep_millisecs").read_text()) == before + 7
        wait_until(lambda: (t := api.get("/v1/ksm").json["tuner"])["phase"] in ("idle", "off") and t["found"] is None,
                   what="the tuner having let go")
        # Remembered across a restart; what a person wrote on "off" is not restored.
        daemon.restart()
        api = daemon.client()
        assert api.get("/v1/ksm").json["tuner"]["mode"] == "off"
        assert int((KSM / "sleep_millisecs").read_text()) == before + 7
    finally:
        api.patch("/v1/ksm", {"tuner": {"mode": "off"}, "knobs": {"sleep_millisecs": before}})


def test_static_knobs_are_restored_in_the_end(fresh_daemon, wait_until):
    if not (KSM / "sleep_millisecs").exists() or not os.access(KSM / "sleep_millisecs", os.W_OK):
        pytest.skip("this kernel has no KSM")
    before = int((KSM / "sleep_millisecs").read_text())
    daemon = fresh_daemon()
    response = daemon.client().patch("/v1/ksm", {"tuner": {"mode": "static"}, "knobs": {"sleep_millisecs": before + 9}})
    if response.status != 200 or response.json["tuner"]["phase"] == "unable":
        pytest.skip("the knobs are in other hands here")
    try:
        tuner = wait_until(lambda: (t := daemon.client().get("/v1/ksm").json["tuner"])["phase"] in ("static", "unable") and t)
        if tuner["phase"] == "unable" or not tuner["found"]:
            pytest.skip("another tuner is at work on this host")
        assert tuner["found"]["sleep_millisecs"] == before
        assert tuner["decisions"][0]["phase"] == "static" and tuner["decisions"][0]["reason"] == tuner["reason"]
        wait_until(lambda: {("ksm.tuner", "static"), ("ksm.configured", None)} <= {
            (e["type"], e["data"].get("phase")) for e in daemon.client().get("/v1/events").json["items"]},
                   what="both events")
        daemon.kill9()
        assert int((KSM / "sleep_millisecs").read_text()) == before + 9
        daemon.start() # repairs what the crash left, then does as configured
        wait_until(lambda: (daemon.client().get("/v1/ksm").json["tuner"]["found"] or {}).get("sleep_millisecs") == before)
        daemon.stop()
        assert int((KSM / "sleep_millisecs").read_text()) == before
    finally:
        (KSM / "sleep_millisecs").write_text(str(before))


def test_bad_ksm_changes_write_nothing(api):
    for body, pointer in (({}, "/knobs"), ({"knobs": {"pages_shared": 1}}, "/knobs/pages_shared"),
                          ({"knobs": {"run": "1"}}, "/knobs/run"), ({"knobs": {"run": -1}}, "/knobs/run"),
                          ({"run": 1}, "/run"), ({"knobs": 1}, "/knobs")):
        response = api.patch("/v1/ksm", body)
        assert response.status == 422 and response.json["pointer"] == pointer, body


def test_host(api, make_vm):
    before = api.get("/v1/host").json
    make_vm(start=True, memory_mib=64)
    host = api.get("/v1/host").json
    assert host["cpus"] >= 1 and host["memory"]["total_bytes"] > 0 and host["kernel"]
    assert host["libvirt"]["connected"] is True and host["libvirt"]["driver"].upper() == "TEST"
    assert host["vms"]["running"] == before["vms"]["running"] + 1
    assert host["memory"]["promised_bytes"] == before["memory"]["promised_bytes"] + (64 << 20)
    if host["acceleration"]["mode"] == "emulated":
        assert host["acceleration"]["cause"]


def test_every_check_that_fails_has_a_cause_and_a_fix(api):
    checks = {c["id"]: c for c in api.get("/v1/host/checks").json["items"]}
    assert {"kvm", "ksm", "libvirt", "qemu", "disk_space"} <= set(checks)
    assert checks["libvirt"]["ok"]
    for check in checks.values():
        assert check["ok"] == (check["result"] == "ok")
        if not check["ok"]:
            assert check.get("cause") and check.get("fix"), check


# ---- metrics ----

def parse(text):
    """{name: [(labels, value)]}"""
    found = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        name, labels, value = re.fullmatch(r'([a-z_:]+)(?:\{(.*)\})? (\S+)', line).groups()
        pairs = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or ""))
        found.setdefault(name, []).append((pairs, float(value)))
    return found


def test_metrics_are_in_the_documented_format(api):
    response = api.get("/metrics")
    assert response.header("Content-Type") == "text/plain; version=0.0.4; charset=utf-8"
    assert response.text.endswith("\n")


def test_promtool_accepts_them(api, make_vm, wait_until):
    if not shutil.which("promtool"):
        pytest.skip("promtool (package prometheus) is not installed")
    vm = make_vm(start=True)
    wait_until(lambda: api.get(f"/v1/vms/{vm['id']}/stats").json["sampled_at"])
    done = subprocess.run(["promtool", "check", "metrics"], input=api.get("/metrics").body, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()


def test_every_metric_and_label_is_documented(api, make_vm, contract, wait_until):
    vm = make_vm(start=True, disks=[{"size_gib": 1}])
    wait_until(lambda: api.get(f"/v1/vms/{vm['id']}/stats").json["sampled_at"])
    rows = {m["name"]: set(m["labels"]) for m in contract.document["x-metrics"]}
    for name, samples in parse(api.get("/metrics").text).items():
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        row = rows.get(name, rows.get(base))
        assert row is not None, name
        for labels, _ in samples:
            assert set(labels) - {"le"} == row, name


def test_figures_of_a_vm(api, make_vm, wait_until):
    vm = make_vm(start=True)
    wait_until(lambda: api.get(f"/v1/vms/{vm['id']}/stats").json["sampled_at"])
    metrics = parse(api.get("/metrics").text)
    states = {labels["state"]: value for labels, value in metrics["drover_vm_state"] if labels["id"] == vm["id"]}
    assert states.pop("running") == 1 and set(states.values()) == {0}
    assert [v for labels, v in metrics["drover_vm_info"] if labels["name"] == vm["name"]] == [1]
    stats = api.get(f"/v1/vms/{vm['id']}/stats").json
    counted = any(labels["id"] == vm["id"] for labels, _ in metrics.get("drover_vm_cpu_usage_seconds_total", []))
    assert counted == ("usage_seconds" in stats["cpu"]), "absent in one, absent in the other"
    assert metrics["drover_libvirt_up"] == [({}, 1)] and metrics["drover_ready"] == [({}, 1)]
    assert metrics["process_resident_memory_bytes"][0][1] > 1e6
    counted = sum(v for _, v in metrics["drover_vms"])
    assert counted == len(api.get("/v1/vms", limit=1000).json["items"])


def test_requests_are_counted_by_route_not_by_path(api, make_vm):
    vm = make_vm()
    for _ in range(3):
        api.get(f"/v1/vms/{vm['id']}")
    text = api.get("/metrics").text
    rows = [(labels, v) for labels, v in parse(text)["drover_http_requests_total"] if labels["route"] == "/v1/vms/{vm}"]
    assert sum(v for labels, v in rows if labels["method"] == "GET" and labels["code"] == "2xx") >= 3
    assert f"/v1/vms/{vm['id']}" not in text


def test_the_dirty_rate_of_a_vm_without_a_qemu(api, make_vm, wait_until):
    vm = make_vm(start=True)
    wait_until(lambda: api.get(f"/v1/vms/{vm['id']}").json["state"] == "running")
    path = f"/v1/vms/{vm['id']}/dirty-rate"
    assert api.post(path, {"seconds": 1}).code == "not-supported-by-host"
    assert api.post(path, {"seconds": "long"}).json["pointer"] == "/seconds"
    assert api.post("/v1/vms/nobody/dirty-rate", {}).code == "vm-not-found"


def test_a_remote_vm_says_what_is_missing(api, make_vm, wait_until):
    """The test driver's VMs have no process here, as those of another host."""
    vm = make_vm(start=True)
    stats = wait_until(lambda: (s := api.get(f"/v1/vms/{vm['id']}/stats").json).get("hypervisor_sampled_at") and s)
    reasons = {m["figures"]: m["reason"] for m in stats["missing"]}
    assert "not on this host" in reasons["process, pages, ksm, storage rates"]
    assert {"pressure", "guest"} <= set(reasons)
