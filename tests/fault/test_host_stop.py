"""The guests are shut down, and the daemon dies meanwhile; then the host is booted."""
import os
import uuid

import pytest

from daemon import BUILD, eventually

SHIM = BUILD / "tests" / "deaf_guests.so"
PATH = "/v1/host/shutdown-guests"
WITHIN = 60
SLACK_MS = 1000  # the wall clock is read twice


def make(api, name, **more):
    made = api.post("/v1/vms", {"name": name, "memory_mib": 16, "networks": [], "start": True, **more}, wait="running")
    assert made.status == 201, made


def states(api):
    return {vm["name"]: vm["state"] for vm in api.get("/v1/vms", limit=1000).json["items"]}


def outcomes(api):
    return {vm["name"]: vm["outcome"] for vm in api.get(PATH).json["vms"]}


def bootable(tmp_path):
    """A boot's id that can be written, and the command that shows it to a daemon."""
    boot_id = tmp_path / "boot_id"
    boot_id.write_text(f"{uuid.uuid4()}\n")
    mount = f"mount --bind {boot_id} /proc/sys/kernel/random/boot_id && exec \"$@\""
    return boot_id, ["unshare", "-m", "sh", "-c", mount, "sh"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a mount namespace")
@pytest.mark.skipif(not SHIM.exists(), reason=f"{SHIM} is not built")
@pytest.mark.parametrize("whole", [True, False], ids=["to-its-end", "cut-short-by-the-host"])
def test_a_daemon_that_dies_in_the_middle(libvirtd, make_daemon, tmp_path, whole):
    boot_id, wrapper = bootable(tmp_path)
    env = {"LD_PRELOAD": str(SHIM), "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}
    daemon = make_daemon(libvirt=libvirtd.uri, env=env, wrapper=wrapper).start()
    api = daemon.client()
    make(api, "good")
    make(api, "kept", on_host_shutdown="save")
    make(api, "deaf", host_shutdown_seconds=5 if whole else 3600)
    make(api, "left", on_host_shutdown="leave")
    make(api, "once")
    assert api.post("/v1/vms/once/stop", wait=30).json["state"] == "succeeded"
    asked = api.post(PATH)
    assert asked.status == 202, asked
    eventually(lambda: outcomes(api).get("good") == "shutdown" and outcomes(api).get("kept") == "saved", WITHIN,
               "two of them are down")
    eventually(lambda: states(api)["deaf"] == "stopping", WITHIN, "the third was asked")
    daemon.kill9()
    api = daemon.start().client()
    assert api.post("/v1/vms/good/start").code == "host-shutting-down", "a crash lets nobody in"
    op = f"/v1/operations/{asked.json['id']}"
    if whole:
        done = api.get(op, wait=WITHIN, patience=WITHIN + 30).json
        assert done["state"] == "succeeded", done
        told = {vm["name"]: vm for vm in api.get(PATH).json["vms"]}
        assert {n: vm["outcome"] for n, vm in told.items()} == {"good": "shutdown", "kept": "saved", "deaf": "stopped",
                                                                "left": "left"}
        assert told["deaf"]["took_ms"] >= 5000 - SLACK_MS
        assert states(api) == {"good": "stopped", "kept": "saved", "deaf": "stopped", "left": "running", "once": "stopped"}
        daemon.kill9()
        assert daemon.start().client().post("/v1/vms/good/start").code == "host-shutting-down"
    else:
        assert api.get(op).json["state"] == "running" and outcomes(api)["deaf"] is None
    daemon.kill9()
    if not whole:  # the host pulls its plug
        libvirtd.virsh("destroy", "deaf")

    boot_id.write_text(f"{uuid.uuid4()}\n")
    api = daemon.start().client()
    eventually(lambda: states(api) == {"good": "running", "kept": "running", "deaf": "running", "left": "running",
                                       "once": "stopped"}, WITHIN, "who ran, runs")
    eventually(lambda: api.get(op).json["state"] == ("succeeded" if whole else "failed"), WITHIN, "its end is known")
    if not whole:
        assert api.get(op).json["error"]["code"] == "interrupted"
        assert outcomes(api) == {"good": "shutdown", "kept": "saved", "deaf": "failed", "left": "left"}
    assert api.get(PATH).json["refuses_starts"] is False
    # A later boot starts nobody again: that was this one's business.
    assert api.post("/v1/vms/good/stop", wait=30).json["state"] == "succeeded"
    daemon.kill9()
    boot_id.write_text(f"{uuid.uuid4()}\n")
    api = daemon.start().client()
    make(api, "newer")  # so the keeper has looked since
    assert states(api)["good"] == "stopped"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a mount namespace")
@pytest.mark.parametrize("remembered", [True, False], ids=["domains-remembered", "domains-forgotten"])
def test_a_host_that_loses_its_power(libvirtd, make_daemon, tmp_path, remembered):
    boot_id, wrapper = bootable(tmp_path)
    daemon = make_daemon(libvirt=libvirtd.uri, wrapper=wrapper).start()
    api = daemon.client()
    for name in "ran", "paused", "again", "off":
        make(api, name, autostart=name == "again")
    assert api.post("/v1/vms/paused/pause", wait=30).json["state"] == "succeeded"
    assert api.post("/v1/vms/off/stop", wait=30).json["state"] == "succeeded"
    reason = api.get("/v1/vms/off").json["state_reason"]
    last = api.get("/v1/events", limit=1000).json["items"][-1]["seq"]

    def power_cut():
        domains = libvirtd.domains()
        daemon.kill9()
        libvirtd.kill9()
        libvirtd.start(shown=False)
        if remembered:
            for xml in domains.values():
                libvirtd.define(xml)
        libvirtd.show()
        return daemon.start().client()

    boot_id.write_text(f"{uuid.uuid4()}\n")
    api = power_cut()
    eventually(lambda: states(api) == {"ran": "stopped", "paused": "stopped", "again": "running", "off": "stopped"},
               WITHIN, "who starts by himself, runs")
    whys = {vm["name"]: vm["state_reason"] for vm in api.get("/v1/vms").json["items"]}
    assert (whys["ran"], whys["paused"], whys["off"]) == ("the host went down", "the host went down", reason)
    names = {vm["id"]: vm["name"] for vm in api.get("/v1/vms").json["items"]}
    told = {(names[e["subject"]["id"]], e["data"]["previous"]): e["data"]["reason"]
            for e in api.get("/v1/events", since=last, limit=1000).json["items"]
            if e["type"] == "vm.state" and e["data"]["state"] == "stopped"}
    assert told == {("ran", "running"): "the host went down", ("paused", "paused"): "the host went down",
                    ("again", "running"): "the host went down"}

    # The same without a boot: libvirt's doing, and told as that.
    api = power_cut()
    eventually(lambda: states(api)["again"] == "stopped", WITHIN, "it is off")
    assert api.get("/v1/vms/again").json["state_reason"] != "the host went down"
    assert api.get("/v1/vms/ran").json["state_reason"] == "the host went down"
