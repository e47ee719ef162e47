"""The host goes down and comes back: a guest that shuts down, one that is saved, one that hears nothing."""
import sqlite3

from rig import HELLO, SLOW, eventually

PATH = "/v1/host/shutdown-guests"


def boot(rig):
    """The host was booted, as far as the daemon can tell; what was on is off."""
    rig.stop()
    with sqlite3.connect(rig.state_dir / "drover.db") as db:
        db.execute("UPDATE meta SET value = '00000000-0000-4000-8000-000000000000' WHERE key = 'boot_id'")
    db.close()
    rig.start()


def test_real_guests_go_down_and_come_back(fresh_rig, demo_image):
    rig = fresh_rig()
    rig.expect_warning("VM deaf is stopped: it was not shut down within 3 seconds")
    rig.expect_warning("the guests of this host are being shut down")
    obeys = rig.create("demo", name="obeys", memory_mib=96, wait="agent")["id"]
    kept = rig.create("hello", name="kept", on_host_shutdown="save", guest_agent=False, wait="console")["id"]
    deaf = rig.create("hello", name="deaf", host_shutdown_seconds=3, guest_agent=False, wait="console")["id"]
    done = rig.api.post(PATH, wait=SLOW, patience=SLOW + 30)
    assert done.status == 200 and done.json["state"] == "succeeded", done
    told = {vm["name"]: (vm["action"], vm["outcome"]) for vm in rig.api.get(PATH).json["vms"]}
    assert told == {"obeys": ("shutdown", "shutdown"), "kept": ("save", "saved"), "deaf": ("shutdown", "stopped")}
    assert [rig.vm(vm)["state"] for vm in (obeys, kept, deaf)] == ["stopped", "saved", "stopped"]
    assert rig.api.post(f"/v1/vms/{deaf}/start").code == "host-shutting-down"

    boot(rig)
    for vm in (obeys, kept, deaf):
        eventually(lambda vm=vm: rig.vm(vm)["state"] == "running", SLOW, "it runs again")
    assert rig.vm(kept)["state_reason"] == "restored"
    with rig.console(kept) as c:
        c.send(b"where was I")
        c.expect(rb"where was I")  # it echoes, and greets nobody again: it goes on where it was
        assert HELLO not in c.received.partition(b"where was I")[2]
    assert rig.vm(kept)["started_at"] < rig.vm(deaf)["started_at"], "it was started before the boot, the other after it"
    eventually(lambda: HELLO in rig.log_raw(deaf).body, SLOW, "the boot sector's second power-on")
