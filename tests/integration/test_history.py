"""History, density, the live topic and what goes with /metrics, on the test driver: its VMs have no process."""
import contextlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest
import yaml


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
    # The newest point was still being gathered: it may have more in it now, not be gone.
    whole = sorted(before)[:-1]
    assert set(whole) <= set(after) and {at for at, _ in before} <= {at for at, _ in after}


def test_a_damaged_history_begins_anew(fresh_daemon, wait_until):
    daemon = fresh_daemon()
    daemon.stop()
    (daemon.state_dir / "history.db").write_bytes(b"this is no database" * 1000)
    daemon.start()
    wait_until(lambda: known(daemon.client().get("/v1/host/history", step=1).json, "available_bytes"))
    assert (daemon.state_dir / "history.db.damaged").exists()
    assert daemon.client().get("/readyz").status == 200


def test_what_an_older_version_wrote_moves_along(fresh_daemon, wait_until):
    """It kept blocks in a table of that name, without rowid."""
    daemon = fresh_daemon()
    before = wait_until(lambda: known(daemon.client().get("/v1/host/history", step=1).json, "available_bytes"))
    daemon.stop()
    with contextlib.closing(sqlite3.connect(daemon.state_dir / "history.db")) as db:
        db.executescript("""
            CREATE TABLE blocks (series INTEGER NOT NULL, level INTEGER NOT NULL, start INTEGER NOT NULL,
                                 data BLOB NOT NULL, PRIMARY KEY (series, level, start)) WITHOUT ROWID;
            INSERT INTO blocks SELECT series, level, start, data FROM points;
            DROP TABLE points;""")
    daemon.start()
    after = wait_until(lambda: known(daemon.client().get("/v1/host/history", step=1).json, "available_bytes"))
    assert {at for at, _ in before} <= {at for at, _ in after}


def test_a_full_disk_costs_figures_and_nothing_else(fresh_daemon, wait_until, tmp_path):
    """history.db on a file system of its own that is full: said in the log, and everything else goes on."""
    mount = Path("/bin/mount")
    if os.geteuid() or not mount.exists():
        pytest.skip("needs root for a file system of its own")
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run([mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], check=False).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        daemon = fresh_daemon()
        daemon.stop()
        for file in daemon.state_dir.glob("history.db*"):
            file.unlink()
        filler = small / "filler"
        (daemon.state_dir / "history.db").symlink_to(small / "history.db")
        with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        daemon.start()
        first = wait_until(lambda: daemon.client().get("/v1/stats").json["sampled_at"], what="a sample")
        wait_until(lambda: daemon.client().get("/v1/stats").json["sampled_at"] > first, what="samples go on")
        wait_until(lambda: known(daemon.client().get("/v1/host/history", step=1).json, "available_bytes"),
                   what="what is in memory being told")
        assert daemon.client().get("/readyz").status == 200
        wait_until(lambda: [line for line in daemon.log().splitlines() if "figures" in line], what="a word about it")
        daemon.stop()
    finally:
        subprocess.run(["/bin/umount", "-l", small], check=True)


def test_density(api, make_vm, wait_until):
    vm = make_vm(start=True, memory_mib=96, labels={"class": "linux-101"})
    found = wait_until(lambda: (d := api.get("/v1/ksm/density", by="label.class").json)["groups"] and d)
    group = next(g for g in found["groups"] if g["key"] == "linux-101")
    assert group["running"] == 1 and group["promised_bytes"] == 96 << 20
    assert group["fits_more"] is None # nothing is known of a VM without a process
    row = next(v for v in found["vms"] if v["vm_id"] == vm["id"])
    assert row["ksm"]["cause"] in ("unknown-process", "no-ksm") and row["ksm"]["reason"]
    assert api.get("/v1/ksm/density").json["by"] == "image"
    assert api.get("/v1/ksm/density", by="set").json["by"] == "set"
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


def test_the_live_topic_as_events_and_over_a_websocket(daemon, api, make_vm):
    vm = make_vm(start=True, memory_mib=80)
    ticks = []
    stream = api.sse("/v1/stats")
    for _, value in stream:
        ticks.append(value)
        if any(i["vm_id"] == vm["id"] for i in value["items"]) and len({t["tick"] for t in ticks}) > 1:
            break
    stream.close()
    item = next(i for i in ticks[-1]["items"] if i["vm_id"] == vm["id"])
    assert item["promised_bytes"] == 80 << 20 and item["ksm_cause"]
    assert [t["tick"] for t in ticks] == sorted(t["tick"] for t in ticks)
    assert ticks[-1]["host"]["running"] >= 1 and ticks[-1]["part"] <= ticks[-1]["parts"]
    with daemon.websocket("/v1/stats") as socket:
        first, second = (json.loads(socket.receive()[1]) for _ in range(2))
    assert (second["tick"], second["part"]) > (first["tick"], first["part"])


def test_a_reader_who_stops_reading_skips_to_the_newest(fresh_daemon, wait_until):
    """Nothing piles up for him, and the others go on."""
    daemon = fresh_daemon(settings={"sample_interval_ms": 100})
    api = daemon.client()
    for number in range(300):
        assert api.post("/v1/vms", {"name": f"many-{number}", "memory_mib": 16, "start": True}).status == 201
    wait_until(lambda: len(api.get("/v1/stats").json["items"]) == 300, seconds=60)
    with daemon.websocket("/v1/stats") as stopped:
        first = json.loads(stopped.receive()[1])["tick"]
        heard, stream = [], api.sse("/v1/stats")
        for _, value in stream: # no buffer of a socket holds so many
            heard.append(value["tick"])
            if heard[-1] > first + 150:
                break
        stream.close()
        assert len(set(heard)) > 75, "who reads is not held up"
        ticks = [first]
        while ticks[-1] <= heard[-1]:
            ticks.append(json.loads(stopped.receive()[1])["tick"])
    assert ticks == sorted(ticks)
    assert max(after - before for before, after in zip(ticks, ticks[1:])) > 10, ticks


def test_other_exporters_names(daemon, api, make_vm):
    vm = make_vm(memory_mib=72)
    text = api.get("/metrics", compat="libvirt").text
    assert "\nlibvirt_up 1\n" in text and "drover_" not in text
    assert "# TYPE libvirt_domain_info_cpu_time_seconds_total counter" in text and vm["name"]
    node = api.get("/metrics", compat="node").text
    if api.get("/v1/ksm").json["available"]:
        assert "\nnode_ksmd_run " in node and "\nnode_ksmd_sleep_seconds " in node
    for body in (text, node):
        if shutil.which("promtool"):
            done = subprocess.run(["promtool", "check", "metrics"], input=body.encode(), capture_output=True, check=False)
            assert done.returncode == 0 or b"error" not in done.stderr.lower(), done.stdout + done.stderr
    response = api.get("/metrics", compat="zabbix")
    assert response.code == "invalid-argument" and response.json["pointer"] == "compat"


DEPLOY = Path(__file__).resolve().parents[2] / "deploy/prometheus"


def test_dashboard_and_alerts_use_names_that_exist(contract):
    known = {m["name"] for m in contract.document["x-metrics"]}
    for m in contract.document["x-metrics"]:
        if m["type"] == "histogram":
            known |= {m["name"] + suffix for suffix in ("_bucket", "_sum", "_count")}
    dashboard = json.loads((DEPLOY / "dashboard.json").read_text())
    texts = {panel["title"]: " ".join(t["expr"] for t in panel["targets"]) for panel in dashboard["panels"]}
    rules = yaml.safe_load((DEPLOY / "alerts.yml").read_text())
    for group in rules["groups"]:
        texts |= {rule["alert"]: rule["expr"] for rule in group["rules"]}
    assert len(texts) > 12
    for where, text in texts.items():
        used = set(re.findall(r"\b(?:drover|process|node|libvirt)_[a-z0-9_]+", text))
        assert used and used <= known, (where, used - known)


def test_promtool_accepts_the_scrape_configuration(tmp_path):
    if not shutil.which("promtool"):
        pytest.skip("promtool (package prometheus) is not installed")
    text = (DEPLOY / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    (tmp_path / "drover.token").write_text("x")
    (tmp_path / "prometheus.yml").write_text(block.replace("/etc/prometheus/", f"{tmp_path}/"))
    done = subprocess.run(["promtool", "check", "config", tmp_path / "prometheus.yml"], capture_output=True, check=False)
    assert done.returncode == 0, done


def test_promtool_accepts_the_alerts():
    if not shutil.which("promtool"):
        pytest.skip("promtool (package prometheus) is not installed")
    done = subprocess.run(["promtool", "check", "rules", DEPLOY / "alerts.yml"], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
