"""The database is lost while guests run under the embedded driver; it is made again, and they are taken over."""
import re
import subprocess

from rig import BUILD, HELLO, eventually, qemu_pid


def test_running_guests_are_taken_over(fresh_rig):
    rig = fresh_rig()
    runs = rig.create(name="runs", wait="console")["id"]
    off = rig.api.post("/v1/vms", {"name": "off", "memory_mib": 16, "networks": [], "labels": {"a": "b"}}).json["id"]
    eventually(lambda: not any(rig.api.get("/v1/operations", state=s).json["items"] for s in ("pending", "running")),
               60, "nothing left to do")
    before = {vm: rig.vm(vm) for vm in (runs, off)}
    pid = qemu_pid(runs)
    rig.stop()
    for path in [*rig.state_dir.glob("drover.db*"), *rig.state_dir.glob("backups/*.db")]:
        path.unlink()
    done = subprocess.run([BUILD / "drover", "db", "rebuild", "--state-dir", rig.state_dir], capture_output=True,
                          text=True, timeout=120, check=False)
    assert done.returncode == 0 and "2 VMs were rebuilt, 2 of them whole" in done.stdout, done
    assert qemu_pid(runs) == pid
    rig.start()
    assert qemu_pid(runs) == pid and rig.vm(runs)["state"] == "running"
    for vm in (runs, off):
        after = rig.vm(vm)
        for member in ("name", "labels", "memory_mib", "networks", "image", "image_id", "created_at", "state", "etag"):
            assert after.get(member) == before[vm].get(member), member
    with rig.console(runs) as console:
        console.expect(re.escape(HELLO))  # what it printed before is still in its log
        console.send(b"still here")
        console.expect(rb"still here")
    for vm in (runs, off):
        assert rig.api.delete(f"/v1/vms/{vm}", force=True).status == 202
        eventually(lambda vm=vm: rig.api.get(f"/v1/vms/{vm}").status == 404, 60, "it is deleted")
    assert not list((rig.state_dir / "vms").iterdir())
