"""VM definitions: create, read, list, change, delete."""
import re

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def test_a_name_is_enough(api, make_vm, name):
    vm = make_vm(name=name("small"), settle=False)
    assert UUID.fullmatch(vm["id"])
    assert vm["state"] == "stopped" and vm["started_at"] is None
    assert vm["cpus"] == 1 and vm["memory_mib"] == 512 and vm["machine"] == "q35"
    assert vm["acceleration"] == "auto" and vm["effective_acceleration"] is None
    assert vm["disks"] == [] and vm["channels"] == [] and vm["labels"] == {}
    assert [n["mode"] for n in vm["networks"]] == ["user"]
    assert re.fullmatch(r"02(:[0-9a-f]{2}){5}", vm["networks"][0]["mac"])
    assert vm["etag"] == "1" and vm["pending_changes"] is False
    assert vm["set"] is None and vm["name"] not in [v["name"] for v in api.get("/v1/vms", set="nobodys").json["items"]]


def test_every_member_comes_back_as_sent(api, make_vm, name):
    sent = {"name": name("full"), "description": "Blåbær\nline two", "labels": {"ci.job": "4711", "tier/x": ""},
            "cpus": 2, "memory_mib": 64, "machine": "pc", "firmware": "bios", "acceleration": "emulated",
            "disks": [{"size_gib": 1}], "networks": [{"mode": "user", "mac": "02:00:00:00:00:07"}],
            "channels": ["org.example.0", "org.example.1"], "guest_agent": False, "vsock": False,
            "display": False, "memory_merge": False, "autostart": True, "record_console": True,
            "on_host_shutdown": "save", "host_shutdown_seconds": 30}
    vm = make_vm(**sent)
    assert {k: vm[k] for k in sent} == sent
    assert api.get(f"/v1/vms/{vm['id']}").json == {k: v for k, v in vm.items() if k != "operation"}


def test_create_answers_with_location_and_etag(api, name):
    response = api.post("/v1/vms", {"name": name()})
    assert response.status == 201
    vm = response.json
    assert response.header("Location") == f"/v1/vms/{vm['id']}"
    assert response.header("ETag") == '"1"'
    assert api.get(response.header("Location")).json["id"] == vm["id"]
    assert api.delete(response.header("Location"), wait=30).json["state"] == "succeeded"


def test_a_vm_is_found_by_id_and_by_name(api, make_vm):
    vm = make_vm()
    by_name, by_id = api.get(f"/v1/vms/{vm['name']}"), api.get(f"/v1/vms/{vm['id']}")
    assert by_name.json == by_id.json
    assert by_name.header("ETag") == '"1"'


def test_head_answers_without_a_body(api, make_vm):
    response = api.request("HEAD", f"/v1/vms/{make_vm()['id']}")
    assert response.status == 200 and response.body == b"" and response.header("ETag") == '"1"'


def test_a_name_is_taken_once(api, make_vm):
    vm = make_vm()
    again = api.post("/v1/vms", {"name": vm["name"]})
    assert again.status == 409 and again.code == "name-in-use"


def test_what_does_not_exist_is_a_problem(api):
    for response in (api.get("/v1/vms/nobody"), api.patch("/v1/vms/nobody", {"cpus": 2}),
                     api.delete("/v1/vms/nobody"), api.post("/v1/vms/nobody/start"),
                     api.get("/v1/vms/00000000-0000-4000-8000-000000000000")):
        assert response.status == 404 and response.code == "vm-not-found"
        assert "nobody" in response.json["detail"] or "00000000" in response.json["detail"]


# ---- lists ----

def walk(api, **query):
    """All items, page by page, following next_cursor."""
    items, cursor = [], None
    while True:
        response = api.get("/v1/vms", cursor=cursor, **query)
        assert response.status == 200
        items += response.json["items"]
        cursor = response.json["next_cursor"]
        assert (cursor is not None) == ("rel=\"next\"" in (response.header("Link") or ""))
        if cursor is None:
            return items


def test_lists_come_in_order_of_creation_and_in_pages(api, make_vm):
    made = [make_vm(labels={"set": "pages"})["id"] for _ in range(7)]
    for limit in (1, 2, 3, 7, 1000):
        assert [vm["id"] for vm in walk(api, limit=limit, label="set=pages")] == made


def test_link_leads_to_the_next_page_with_the_same_filter(api, make_vm):
    made = [make_vm(labels={"set": "a b&c=ü"})["id"] for _ in range(3)]
    response = api.get("/v1/vms", limit=2, label="set=a b&c=ü")
    link = re.fullmatch(r'<([^>]+)>; rel="next"', response.header("Link"))
    rest = api.get(link[1])
    assert [vm["id"] for vm in response.json["items"] + rest.json["items"]] == made
    assert rest.json["next_cursor"] is None


def test_a_walk_is_not_disturbed_by_deletes_and_creates(api, make_vm):
    made = [make_vm(labels={"set": "walk"}) for _ in range(4)]
    first = api.get("/v1/vms", limit=2, label="set=walk").json
    assert api.delete(f"/v1/vms/{made[0]['id']}", wait=30).status == 200
    late = make_vm(labels={"set": "walk"})
    rest = api.get("/v1/vms", limit=10, label="set=walk", cursor=first["next_cursor"]).json
    assert [vm["id"] for vm in rest["items"]] == [made[2]["id"], made[3]["id"], late["id"]]


def test_filters(api, make_vm, name):
    a = make_vm(name=name("filter"), labels={"set": "filter", "color": "red"})
    b = make_vm(name=name("filter"), labels={"set": "filter", "color": "blue"}, start=True)

    def ids(**query):
        return [vm["id"] for vm in walk(api, **query)]

    assert ids(label="set=filter") == [a["id"], b["id"]]
    assert ids(label=["set=filter", "color=blue"]) == [b["id"]]
    assert ids(label="set=filter", state="stopped") == [a["id"]]
    assert ids(label="set=filter", state="running") == [b["id"]]
    assert ids(name=a["name"]) == [a["id"]]
    assert ids(name="no-such-name") == []
    assert ids(label="set=nothing") == []


def test_bad_list_parameters_are_named(api):
    for query, pointer in (({"limit": 0}, "limit"), ({"limit": 1001}, "limit"), ({"limit": "x"}, "limit"),
                           ({"cursor": "17"}, "cursor"), ({"cursor": "c-1"}, "cursor"), ({"state": "asleep"}, "state"),
                           ({"label": "nothing"}, "label"), ({"label": "=x"}, "label"),
                           ({"label": [f"a{i}=b" for i in range(9)]}, "label")):
        response = api.get("/v1/vms", **query)
        assert response.status == 400 and response.code == "invalid-argument", query
        assert response.json["pointer"] == pointer


# ---- change ----

def test_merge_patch(api, make_vm):
    vm = make_vm(description="old", labels={"keep": "1", "drop": "2"}, cpus=2)
    response = api.patch(f"/v1/vms/{vm['id']}", {"description": "new", "labels": {"drop": None, "add": "3"}, "cpus": None})
    assert response.status == 200, response
    changed = response.json
    assert changed["description"] == "new"
    assert changed["labels"] == {"keep": "1", "add": "3"}
    assert changed["cpus"] == 1, "null brings the default back"
    assert changed["memory_mib"] == vm["memory_mib"]
    assert changed["networks"] == vm["networks"], "what was not named stays, MAC address included"
    assert changed["etag"] == "2" and response.header("ETag") == '"2"'
    assert api.get(f"/v1/vms/{vm['id']}").json == changed


def test_a_rename_moves_the_name(api, make_vm, name):
    vm, new = make_vm(), name("renamed")
    assert api.patch(f"/v1/vms/{vm['name']}", {"name": new}).json["name"] == new
    assert api.get(f"/v1/vms/{new}").json["id"] == vm["id"]
    assert api.get(f"/v1/vms/{vm['name']}").status == 404
    other = make_vm(name=vm["name"])
    assert other["id"] != vm["id"]
    assert api.patch(f"/v1/vms/{new}", {"name": vm["name"]}).code == "name-in-use"


def test_if_match(api, make_vm):
    vm = make_vm()
    path = f"/v1/vms/{vm['id']}"
    assert api.patch(path, {"cpus": 2}, headers={"If-Match": '"1"'}).status == 200
    stale = api.patch(path, {"cpus": 3}, headers={"If-Match": '"1"'})
    assert stale.status == 412 and stale.code == "precondition-failed"
    assert api.get(path).json["cpus"] == 2
    assert api.patch(path, {"cpus": 4}, headers={"If-Match": "*"}).status == 200
    assert api.delete(path, headers={"If-Match": '"1"'}).status == 412
    assert api.patch(path, {"cpus": 5}, headers={"If-Match": "3"}).code == "invalid-argument"
    assert api.get(path).json["cpus"] == 4


def test_a_patch_that_is_refused_changes_nothing(api, make_vm):
    vm = make_vm()
    for patch, pointer in (({"cpus": 0}, "/cpus"), ({"cpus": "2"}, "/cpus"), ({"surprise": 1}, "/surprise"),
                           ({"start": True}, "/start"), ({"id": "x"}, "/id"), ({"name": None}, "/name"),
                           ({"labels": {"a b": "c"}}, "/labels/a b")):
        response = api.patch(f"/v1/vms/{vm['id']}", patch)
        assert response.status == 422 and response.code == "validation-failed", (patch, response)
        assert response.json["pointer"] == pointer
    assert api.get(f"/v1/vms/{vm['id']}").json["etag"] == "1"


def test_changes_to_a_running_vm_are_pending_until_it_is_restarted(api, make_vm):
    vm = make_vm(start=True)
    path = f"/v1/vms/{vm['id']}"
    assert api.patch(path, {"memory_mib": 256}).json["pending_changes"] is True
    assert api.post(f"{path}/stop", wait=30).json["state"] == "succeeded"
    assert api.post(f"{path}/start", wait=30).json["state"] == "succeeded"
    assert api.get(path).json["pending_changes"] is False


# ---- delete ----

def test_delete_answers_with_an_operation_and_the_name_is_free(api, make_vm):
    vm = make_vm()
    response = api.delete(f"/v1/vms/{vm['id']}", wait=30)
    assert response.status == 200
    assert response.json["kind"] == "vm.delete" and response.json["state"] == "succeeded"
    assert api.get(f"/v1/vms/{vm['id']}").status == 404
    assert make_vm(name=vm["name"])["id"] != vm["id"]


def test_a_running_vm_needs_force(api, make_vm):
    vm = make_vm(start=True)
    refused = api.delete(f"/v1/vms/{vm['id']}")
    assert refused.status == 409 and refused.code == "vm-state-conflict"
    assert api.get(f"/v1/vms/{vm['id']}").json["state"] == "running"
    assert api.delete(f"/v1/vms/{vm['id']}", force=True, wait=30).json["state"] == "succeeded"
    assert api.get(f"/v1/vms/{vm['id']}").status == 404
