"""After a boot of the host: VMs start in waves, and who does not fit waits with the arithmetic."""
import sqlite3

import pytest
from rig import eventually


@pytest.fixture
def boot(fresh_rig):
    """boot(rig): the host was booted, as far as the daemon can tell; nothing runs any more."""
    def boot_again(rig):
        rig.stop()
        with sqlite3.connect(rig.state_dir / "drover.db") as db:
            db.execute("UPDATE meta SET value = '00000000-0000-4000-8000-000000000000' WHERE key = 'boot_id'")
        db.close()
        rig.start()
    return boot_again


def state(rig, name):
    vm = rig.api.get(f"/v1/vms/{name}").json
    return vm["state"], vm["state_reason"]


def test_who_does_not_fit_waits_and_is_told_why(fresh_rig, boot):
    rig = fresh_rig()
    total = rig.api.get("/v1/host").json["memory"]["total_bytes"] >> 20
    rig.stop()
    rig.settings = {"memory_overcommit_percent": 10, "autostart_wave": 1, "ksm_tuner": "off"}
    rig.start()
    size = total * 6 // 100  # one of them may be promised, not two
    for name in ("first", "second"):
        made = rig.api.post("/v1/vms", {"name": name, "memory_mib": size, "networks": [], "autostart": True})
        assert made.status == 201, made
    rig.expect_warning("cannot start VM second after the boot")
    boot(rig)
    eventually(lambda: state(rig, "first")[0] == "running", 60, "the first is started")
    eventually(lambda: state(rig, "second")[1].startswith("autostart: second is to have"), 60, "the second waits")
    assert state(rig, "second")[0] == "stopped" and f"{size} MiB are promised already" in state(rig, "second")[1]
    told = [e for e in rig.api.get("/v1/events", limit=1000).json["items"] if e["type"] == "vm.waiting"]
    assert [e["subject"]["name"] for e in told] == ["second"] and "promised" in told[0]["data"]["reason"]

    rig.kill9()  # a crash forgets nobody
    rig.start()
    assert state(rig, "second")[1].startswith("autostart: ")
    stopped = rig.api.post("/v1/vms/first/stop", wait=60, patience=90)
    assert stopped.json["state"] == "succeeded", stopped
    eventually(lambda: state(rig, "second")[0] == "running", 60, "there is room now")
    assert state(rig, "first")[0] == "stopped", "it was started after the boot already"


def test_a_vm_that_is_no_longer_to_start_does_not(fresh_rig, boot):
    rig = fresh_rig()
    total = rig.api.get("/v1/host").json["memory"]["total_bytes"] >> 20
    rig.stop()
    rig.settings = {"memory_overcommit_percent": 10, "ksm_tuner": "off"}
    rig.start()
    for name, auto in (("yes", True), ("no", False), ("changed", True)):
        assert rig.api.post("/v1/vms", {"name": name, "memory_mib": total * 6 // 100, "networks": [],
                                        "autostart": auto}).status == 201
    rig.expect_warning("cannot start VM changed after the boot")
    boot(rig)
    eventually(lambda: state(rig, "changed")[1].startswith("autostart: changed"), 60, "it waits")
    assert rig.api.patch("/v1/vms/changed", {"autostart": False}).status == 200
    assert rig.api.post("/v1/vms/yes/stop", wait=60, patience=90).json["state"] == "succeeded"
    assert rig.api.post("/v1/vms/no/start", wait=60, patience=90).json["state"] == "succeeded"
    assert state(rig, "changed")[0] == "stopped"
