"""History of figures and density, on the test driver: its VMs have no process, the host has figures."""
import time

import pytest


def known(history, figure):
    """[(time, mean)] of what is known."""
    columns = history["figures"].get(figure, {"mean": []})
    return [(t, v) for t, v in zip(history["times"], columns["mean"]) if v is not None]


def test_the_hosts_history_grows(api, make_vm, wait_until):
    make_vm(start=True)
    points = wait_until(lambda: [p for p in known(api.get("/v1/host/history", step=1).json, "running") if p[1] >= 1],
                        what="a point with a running VM")
    assert abs(points[-1][0] - time.time()) < 30
    history = api.get("/v1/host/history", step=1).json
    assert history["step_seconds"] == history["resolution_seconds"] == 1
    assert all(set(c) == {"mean"} for c in history["figures"].values())
    assert known(history, "available_bytes")[-1][1] > 1e6


def test_a_vms_history_is_there_and_empty_where_nothing_was_measured(api, make_vm):
    vm = make_vm()
    history = api.get(f"/v1/vms/{vm['id']}/stats/history").json
    assert history["vm_id"] == vm["id"] and history["figures"] == {}
    assert 300 <= len(history["times"]) <= 400
    assert api.get("/v1/vms/nobody/stats/history").code == "vm-not-found"


@pytest.mark.parametrize("query, pointer", [
    ({"from": "yesterday"}, "from"), ({"to": "0x1"}, "to"), ({"step": "0"}, "step"), ({"step": "x"}, "step"),
    ({"from": "2000", "to": "1000"}, "to"), ({"to": "99999999999"}, "to"),
    ({"from": "2020-01-01T00:00:00Z", "step": "1"}, "step")])
def test_bad_questions(api, query, pointer):
    response = api.get("/v1/host/history", **query)
    assert response.code == "invalid-argument" and response.json["pointer"] == pointer
    assert response.json["detail"]


def test_levels_by_age(api):
    now = int(time.time())
    for back, step, resolution in ((600, 1, 1), (7200, 1, None), (7200, 60, 60), (10 * 86400, 3600, 900), (600, 61, 60)):
        response = api.get("/v1/host/history", **{"from": now - back, "step": step})
        if resolution is None:
            assert response.code == "invalid-argument" # too many points
            continue
        assert response.json["resolution_seconds"] == resolution, (back, step)
        assert response.json["step_seconds"] % resolution == 0 and response.json["step_seconds"] >= step


def test_it_survives_a_restart(fresh_daemon, wait_until):
    daemon = fresh_daemon()
    before = wait_until(lambda: known(daemon.client().get("/v1/host/history", step=1).json, "available_bytes"))
    daemon.restart()
    after = wait_until(lambda: known(daemon.client().get("/v1/host/history", step=1).json, "available_bytes"))
    assert set(before) <= set(after)


def test_a_damaged_history_begins_anew(fresh_daemon, wait_until):
    daemon = fresh_daemon()
    daemon.stop()
    (daemon.state_dir / "history.db").write_bytes(b"this is no database" * 1000)
    daemon.start()
    wait_until(lambda: known(daemon.client().get("/v1/host/history", step=1).json, "available_bytes"))
    assert (daemon.state_dir / "history.db.damaged").exists()
    assert daemon.client().get("/readyz").status == 200


def test_density(api, make_vm, wait_until):
    vm = make_vm(start=True, memory_mib=96, labels={"class": "linux-101"})
    found = wait_until(lambda: (d := api.get("/v1/ksm/density", by="label.class").json)["groups"] and d)
    group = next(g for g in found["groups"] if g["key"] == "linux-101")
    assert group["running"] == 1 and group["promised_bytes"] == 96 << 20
    assert group["fits_more"] is None # nothing is known of a VM without a process
    row = next(v for v in found["vms"] if v["vm_id"] == vm["id"])
    assert row["ksm"]["cause"] in ("unknown-process", "no-ksm") and row["ksm"]["reason"]
    assert api.get("/v1/ksm/density").json["by"] == "image"
    for bad in ("colour", "label.", ""):
        assert api.get("/v1/ksm/density", by=bad).json["pointer"] == "by"


def test_without_the_scope_merged_memory_is_coarse(daemon, api):
    token = api.post("/v1/tokens", {"name": "viewer", "role": "viewer"}).json["token"]
    viewer = daemon.client(token)
    assert "ksm:read" not in viewer.get("/v1/session").json["scopes"]
    ksm = viewer.get("/v1/ksm").json
    if ksm["available"]:
        assert ksm["coarse"] and ksm["counters"] == {} and ksm["saved_bytes"] % (64 << 20) == 0
    assert viewer.get("/v1/ksm/density").json["coarse"] is True
    assert not [f for f in viewer.get("/v1/host/history").json["figures"] if f.startswith("ksm")]
    assert "drover_vm_ksm" not in viewer.get("/metrics").text
