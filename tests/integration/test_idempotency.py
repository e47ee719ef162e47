"""Idempotency-Key: the same request twice has one effect."""
import threading
import uuid


def key():
    return {"Idempotency-Key": str(uuid.uuid4())}


def test_create_twice_makes_one_vm(api, name):
    body, headers = {"name": name("idem"), "start": True}, key()
    first, second = (api.post("/v1/vms", body, headers=headers) for _ in range(2))
    assert first.status == second.status == 201
    assert first.json["id"] == second.json["id"]
    assert first.header("Idempotency-Replayed") is None and second.header("Idempotency-Replayed") == "true"
    assert len(api.get("/v1/vms", name=body["name"]).json["items"]) == 1
    # Whoever did not hear the first answer has the same to wait for, also when it has ended by then.
    operation = first.json["operation"]["id"]
    assert second.json["operation"]["id"] == operation
    assert api.get(f"/v1/operations/{operation}", wait=30).json["state"] == "succeeded"
    third = api.post("/v1/vms", body, headers=headers)
    assert (third.json["operation"]["id"], third.json["operation"]["state"]) == (operation, "succeeded")
    api.delete(f"/v1/vms/{first.json['id']}", force=True, wait=30)


def test_without_a_key_the_second_is_a_conflict(api, make_vm):
    vm = make_vm()
    assert api.post("/v1/vms", {"name": vm["name"]}, headers=key()).code == "name-in-use"


def test_a_key_belongs_to_one_request(api, make_vm, name):
    headers = key()
    vm = name("idem")
    made = api.post("/v1/vms", {"name": vm}, headers=headers)
    other = api.post("/v1/vms", {"name": vm, "cpus": 2}, headers=headers)
    assert other.status == 422 and other.code == "idempotency-key-reused"
    assert api.post(f"/v1/vms/{vm}/start", headers=headers).code == "idempotency-key-reused"
    assert api.get(f"/v1/vms/{vm}").json["state"] == "stopped"
    api.delete(f"/v1/vms/{made.json['id']}", wait=30)


def test_an_action_twice_is_one_operation(api, make_vm):
    vm, headers = make_vm(), key()
    first = api.post(f"/v1/vms/{vm['id']}/start", wait=30, headers=headers)
    second = api.post(f"/v1/vms/{vm['id']}/start", wait=30, headers=headers)
    assert first.status == second.status == 200
    assert first.json["id"] == second.json["id"]
    assert second.header("Idempotency-Replayed") == "true"


def test_keys_of_two_tokens_do_not_meet(daemon, api, token, name):
    headers, other = key(), daemon.client(token())
    a = api.post("/v1/vms", {"name": name("idem")}, headers=headers)
    b = other.post("/v1/vms", {"name": name("idem")}, headers=headers)
    assert a.status == b.status == 201 and a.json["id"] != b.json["id"]
    for vm in (a, b):
        api.delete(f"/v1/vms/{vm.json['id']}", wait=30)


def test_a_key_is_remembered_over_a_restart(fresh_daemon):
    daemon = fresh_daemon()
    headers = key()
    first = daemon.client().post("/v1/vms", {"name": "once"}, headers=headers)
    daemon.kill9()
    daemon.start()
    second = daemon.client().post("/v1/vms", {"name": "once"}, headers=headers)
    assert second.status == 201 and second.json["id"] == first.json["id"]


def test_twenty_at_once_make_one_vm(api, name):
    body, headers, answers = {"name": name("race")}, key(), []

    def post():
        answers.append(api.post("/v1/vms", body, headers=headers))

    threads = [threading.Thread(target=post) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made = [a for a in answers if a.status == 201]
    assert made and {a.code for a in answers if a.status != 201} <= {"request-in-progress"}
    assert len({a.json["id"] for a in made}) == 1
    assert len(api.get("/v1/vms", name=body["name"]).json["items"]) == 1
    api.delete(f"/v1/vms/{made[0].json['id']}", wait=30)


def test_bad_keys(api, name):
    for bad in ("", "x" * 129):
        response = api.post("/v1/vms", {"name": name()}, headers={"Idempotency-Key": bad})
        assert response.code == "invalid-argument" and response.json["pointer"] == "Idempotency-Key"
