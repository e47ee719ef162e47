"""Starting, stopping and the rest, on libvirt's test driver."""
import pytest


def act(api, vm, verb, **query):
    query.setdefault("wait", 30)
    return api.post(f"/v1/vms/{vm['id']}/{verb}", **query)


def state(api, vm):
    return api.get(f"/v1/vms/{vm['id']}").json["state"]


def done(response, kind):
    assert response.status == 200, response
    op = response.json
    assert op["kind"] == kind and op["state"] == "succeeded", op
    assert op["created_at"] <= op["started_at"] <= op["finished_at"] and op["error"] is None
    return op


def test_create_with_start_waits_until_it_runs(api, make_vm):
    vm = make_vm(start=True)
    assert vm["state"] == "running" and vm["started_at"]
    assert vm["operation"]["kind"] in ("vm.start", "vm.create")
    assert vm["effective_acceleration"] in ("kvm", "emulated")


def test_create_with_start_answers_at_once_without_wait(api, make_vm, wait_until):
    vm = make_vm(start=True, wait="")
    assert vm["operation"]["vm_id"] == vm["id"]
    wait_until(lambda: state(api, vm) == "running")
    op = api.get(f"/v1/operations/{vm['operation']['id']}", wait=30)
    assert op.json["state"] == "succeeded"


def test_wait_needs_start(api, name):
    response = api.post("/v1/vms", {"name": name()}, wait="running")
    assert response.status == 400 and response.json["pointer"] == "wait" and response.json["remedy"]
    assert api.post("/v1/vms", {"name": name(), "start": True}, wait="lunch").code == "invalid-argument"
    assert api.post("/v1/vms", {"name": name(), "start": True}, wait="running", timeout=601).code == "invalid-argument"


def test_wait_for_a_console_that_stays_silent_times_out_and_the_vm_stays(api, name):
    vm = name("silent")
    response = api.post("/v1/vms", {"name": vm, "start": True}, wait="console", timeout=1)
    assert response.status == 504 and response.code == "timeout", response
    assert api.get(f"/v1/vms/{vm}").json["id"] in response.json["detail"] + response.json["remedy"]
    assert api.delete(f"/v1/vms/{vm}", force=True, wait=30).status == 200


def test_the_whole_round(api, make_vm):
    vm = make_vm()
    done(act(api, vm, "start"), "vm.start")
    assert state(api, vm) == "running"
    done(act(api, vm, "pause"), "vm.pause")
    assert state(api, vm) == "paused"
    done(act(api, vm, "resume"), "vm.resume")
    assert state(api, vm) == "running"
    done(act(api, vm, "reboot"), "vm.reboot")
    assert state(api, vm) == "running"
    done(act(api, vm, "shutdown"), "vm.shutdown")
    assert state(api, vm) == "stopped"
    done(act(api, vm, "start"), "vm.start")
    done(act(api, vm, "stop"), "vm.stop")
    assert state(api, vm) == "stopped"


def test_save_and_restore(api, make_vm):
    vm = make_vm(start=True)
    done(act(api, vm, "save"), "vm.save")
    assert state(api, vm) == "saved"
    done(act(api, vm, "start"), "vm.start")
    assert state(api, vm) == "running"


@pytest.mark.parametrize("verb", ["shutdown", "reboot", "reset", "pause", "resume", "save"])
def test_what_a_stopped_vm_cannot_do(api, make_vm, verb):
    vm = make_vm()
    response = act(api, vm, verb)
    assert response.status == 409 and response.code == "vm-state-conflict", response
    assert "stopped" in response.json["detail"]
    assert state(api, vm) == "stopped"


def test_what_a_running_vm_cannot_do(api, make_vm):
    vm = make_vm(start=True)
    for verb in ("start", "resume"):
        assert act(api, vm, verb).code == "vm-state-conflict"
    assert state(api, vm) == "running"


def test_reset_succeeds_or_says_why_not(api, make_vm):
    """The test driver may not know reset; then the operation says so and the VM runs on."""
    vm = make_vm(start=True)
    op = act(api, vm, "reset").json
    assert op["state"] == "succeeded" or op["error"]["code"] in ("not-supported-by-host", "hypervisor-failed"), op
    assert state(api, vm) == "running"


def test_without_wait_the_answer_is_202_and_a_location(api, make_vm):
    vm = make_vm()
    response = act(api, vm, "start", wait=None)
    assert response.status == 202
    assert response.header("Location") == f"/v1/operations/{response.json['id']}"
    op = api.get(response.header("Location"), wait=30).json
    assert op["state"] == "succeeded" and op["vm_id"] == vm["id"]


def test_bad_waits_leave_nothing_behind(api, make_vm):
    vm = make_vm()
    for wait in ("0", "601", "-1", "x", "1.5"):
        response = act(api, vm, "start", wait=wait)
        assert response.status == 400 and response.json["pointer"] == "wait"
    assert [op["kind"] for op in api.get("/v1/operations", vm=vm["id"]).json["items"]] == ["vm.create"]


def test_operations_on_one_vm_run_in_the_order_they_were_accepted(api, make_vm):
    vm = make_vm()
    ids = [act(api, vm, "start", wait=None).json["id"]]
    api.get(f"/v1/operations/{ids[0]}", wait=30)
    ids.append(act(api, vm, "pause", wait=None).json["id"])
    api.get(f"/v1/operations/{ids[1]}", wait=30)
    ids.append(act(api, vm, "stop", wait=None).json["id"])
    api.get(f"/v1/operations/{ids[2]}", wait=30)
    listed = [op["id"] for op in api.get("/v1/operations", vm=vm["id"]).json["items"] if op["kind"] != "vm.create"]
    assert listed == ids[::-1]


def test_domains_that_are_not_ours_are_left_alone(api, daemon):
    """test:///default comes with a running domain called "test"."""
    assert all(vm["name"] != "test" for vm in api.get("/v1/vms").json["items"])
    mine = api.post("/v1/vms", {"name": "test"})
    assert mine.status == 201
    started = api.post("/v1/vms/test/start", wait=30)
    assert started.status == 200
    assert api.delete("/v1/vms/test", force=True, wait=30).status == 200
