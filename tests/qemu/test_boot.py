"""How far a guest's boot came, by what its console shows."""
from rig import SLOW, eventually


def timeline(rig, vm):
    answer = rig.api.get(f"/v1/vms/{vm}/timeline")
    assert answer.status == 200, answer
    return answer.json


def test_a_linux_guest_passes_every_stage(rig):
    vm = rig.create("demo", memory_mib=128, cmdline="console=ttyS0", ready_pattern="root@", wait="ready")
    assert vm["ready_at"]
    times = timeline(rig, vm["id"])
    stages = ["created_at", "started_at", "first_output_at", "kernel_at", "userland_at", "ready_at"]
    assert all(times[stage] for stage in stages), times
    assert sorted(stages, key=times.get) == stages, times
    assert times["rebooted_at"] is None
    ready = rig.events(vm["id"], "vm.ready")
    assert [e["data"]["how"] for e in ready] == ["console"] and ready[0]["data"]["boot_ms"] > 0


def test_a_reboot_begins_anew(rig):
    vm = rig.create("hello", ready_pattern="I echo.", wait="ready")["id"]
    before = timeline(rig, vm)
    assert before["ready_at"] and not before["kernel_at"] and not before["userland_at"]
    rig.act(vm, "reset")
    after = eventually(lambda: (t := timeline(rig, vm))["rebooted_at"] and t["ready_at"] and t, SLOW, "ready again")
    assert after["started_at"] == before["started_at"]
    assert after["ready_at"] >= after["rebooted_at"] > before["ready_at"]
    assert len(rig.events(vm, "vm.ready")) == 2


def test_the_daemons_restart_in_between(fresh_rig):
    rig = fresh_rig()
    vm = rig.create("hello", ready_pattern="typed later", wait="console")["id"]
    before = eventually(lambda: (t := timeline(rig, vm))["first_output_at"] and t)
    assert not before["ready_at"]
    rig.restart()
    with rig.console(vm) as console:
        console.send(b"typed later")
        console.expect(b"typed later")
    after = eventually(lambda: (t := timeline(rig, vm))["ready_at"] and t, SLOW, "ready")
    assert {**after, "ready_at": None} == before
