"""Recordings where there is no console to record: what is asked for wrongly, lists, rights."""
import pytest

NOBODY = "11111111-2222-4333-8444-555555555555"


def test_an_empty_list(api, make_vm):
    vm = make_vm()
    for query in ({}, {"vm": vm["name"]}, {"vm": vm["id"]}, {"limit": 1}, {"vm": NOBODY}):
        answer = api.get("/v1/recordings", **query)
        assert answer.status == 200 and answer.json == {"items": [], "next_cursor": None}


@pytest.mark.parametrize("query, parameter", [({"vm": "nobody"}, "vm"), ({"limit": 0}, "limit"),
                                              ({"cursor": "x"}, "cursor")])
def test_bad_arguments(api, query, parameter):
    assert api.get("/v1/recordings", **query).json["pointer"] == parameter


def test_what_is_not_there(api):
    for answer in (api.get(f"/v1/recordings/{NOBODY}"), api.delete(f"/v1/recordings/{NOBODY}"),
                   api.post(f"/v1/recordings/{NOBODY}/stop"), api.get(f"/v1/recordings/{NOBODY}/content"),
                   api.get("/v1/recordings/..%2e")):
        assert answer.code in ("recording-not-found", "malformed-request"), answer
    assert api.get("/v1/recordings/x' OR 1=1 --".replace(" ", "%20")).code == "recording-not-found"


def test_a_vm_without_a_console_cannot_be_recorded(api, make_vm):
    vm = make_vm(start=True)
    answer = api.post(f"/v1/vms/{vm['id']}/recordings")
    assert answer.code == "stream-unavailable" and "Start the VM" in answer.json["remedy"]
    assert api.post(f"/v1/vms/{vm['id']}/recordings", {"stream": "channels/none"}).code == "stream-not-found"
    assert api.post(f"/v1/vms/{vm['id']}/recordings", {"stream": "display"}).json["pointer"] == "/stream"
    assert api.post(f"/v1/vms/{vm['id']}/recordings", {"stream": 7}).json["pointer"] == "/stream"
    assert api.post("/v1/vms/nobody/recordings").code == "vm-not-found"
    assert api.get("/v1/recordings").json["items"] == []


def test_who_may_only_watch_cannot_record(daemon, api, token, make_vm):
    vm, viewer = make_vm(), daemon.client(token("viewer"))
    assert viewer.get("/v1/recordings").status == 200
    for answer in (viewer.post(f"/v1/vms/{vm['id']}/recordings"), viewer.delete(f"/v1/recordings/{NOBODY}"),
                   viewer.post(f"/v1/recordings/{NOBODY}/stop")):
        assert answer.code == "forbidden" and "console:control" in answer.json["detail"]
    assert daemon.client(token("operator", scopes=["vm:read"])).get("/v1/recordings").code == "forbidden"


def test_whether_boots_are_recorded_is_part_of_the_definition(api, make_vm):
    vm = make_vm()
    assert vm["record_console"] is False
    for value in (True, False, None):
        answer = api.patch(f"/v1/vms/{vm['id']}", {"record_console": value})
        assert answer.status == 200 and answer.json["record_console"] is bool(value)
    assert api.patch(f"/v1/vms/{vm['id']}", {"record_console": "yes"}).json["pointer"] == "/record_console"
    made = make_vm(record_console=True, start=True)
    assert made["record_console"] is True
    assert api.get("/v1/recordings", vm=made["id"]).json["items"] == []  # the test driver has no consoles
