"""Operations: listed, waited for, cancelled."""


def test_an_operation_tells_who_asked_and_for_what(api, make_vm):
    vm = make_vm()
    op = api.post(f"/v1/vms/{vm['id']}/start", wait=30, headers={"X-Request-Id": "why-7"}).json
    assert op["request_id"] == "why-7" and op["vm_id"] == vm["id"] and op["image_id"] is None
    assert op["actor"] == api.get("/v1/session").json["id"]
    assert api.get(f"/v1/operations/{op['id']}").json == op


def test_lists_are_newest_first_filtered_and_paged(api, make_vm):
    vm = make_vm()
    made = [api.post(f"/v1/vms/{vm['id']}/{verb}", wait=30).json["id"] for verb in ("start", "pause", "resume", "stop")]
    whole = [op["id"] for op in api.get("/v1/operations", vm=vm["name"], state="succeeded").json["items"]]
    assert whole[:4] == made[::-1]
    paged, cursor = [], None
    while True:
        page = api.get("/v1/operations", vm=vm["id"], state="succeeded", limit=2, cursor=cursor).json
        paged += [op["id"] for op in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert paged == whole
    assert api.get("/v1/operations", vm=vm["id"], state="failed").json["items"] == []


def test_the_operations_of_a_deleted_vm_are_found_by_its_id(api, make_vm):
    vm = make_vm()
    op = api.delete(f"/v1/vms/{vm['id']}", wait=30).json
    listed = api.get("/v1/operations", vm=vm["id"]).json["items"]
    assert listed[0]["id"] == op["id"] and listed[0]["kind"] == "vm.delete"


def test_bad_parameters(api):
    assert api.get("/v1/operations", vm="nobody").json["pointer"] == "vm"
    assert api.get("/v1/operations", state="sleepy").json["pointer"] == "state"
    assert api.get("/v1/operations/00000000-0000-4000-8000-000000000000").code == "operation-not-found"
    assert api.get("/v1/operations/nonsense").code == "operation-not-found"


def test_a_finished_operation_cannot_be_cancelled(api, make_vm):
    op = api.post(f"/v1/vms/{make_vm()['id']}/start", wait=30).json
    response = api.delete(f"/v1/operations/{op['id']}")
    assert response.status == 409 and response.code == "operation-state-conflict"
    assert api.delete("/v1/operations/nonsense").code == "operation-not-found"
    assert api.get(f"/v1/operations/{op['id']}").json == op


def test_a_pending_operation_can_be_cancelled(fresh_daemon, wait_until):
    """One worker, busy with a shutdown that the guest ignores: what comes after it is pending."""
    daemon = fresh_daemon(settings={"operation_workers": 1})
    api = daemon.client()
    ids = [api.post("/v1/vms", {"name": f"c{i}"}).json["id"] for i in range(40)]
    ops = [api.post(f"/v1/vms/{vm}/start").json for vm in ids]
    cancelled = None
    for op in reversed(ops):
        response = api.delete(f"/v1/operations/{op['id']}")
        if response.status == 200:
            cancelled = response.json
            break
        assert response.code == "operation-state-conflict"
    for op in ops:
        api.get(f"/v1/operations/{op['id']}", wait=60)
    if cancelled:  # a fast machine may have been done with all of them
        assert cancelled["state"] == "cancelled"
        assert api.get(f"/v1/operations/{cancelled['id']}").json["state"] == "cancelled"
        wait_until(lambda: api.get(f"/v1/vms/{cancelled['vm_id']}").json["state"] == "stopped")
