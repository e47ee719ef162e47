"""The audit log: who asked for what, from where, and how it ended."""
import json
import socket
import sqlite3
import subprocess
import threading

import pytest
from daemon import BUILD, eventually

HIDDEN = "correct-horse-battery-staple"


def entries(api, **query):
    answer = api.get("/v1/audit", **query)
    assert answer.status == 200, answer
    return answer.json["items"]


def of_request(api, answer, **query):
    """The entry of one request, which is there although it was answered this moment."""
    found = [e for e in entries(api, **query) if e["request_id"] == answer.header("X-Request-Id")]
    assert len(found) == 1, found
    return found[0]


@pytest.fixture
def viewer(daemon, api):
    made = api.post("/v1/tokens", {"name": "looks-only", "role": "viewer"}).json
    return daemon.client(token=made["token"]), made


def test_a_write_is_told_with_who_where_and_how(api, make_vm):
    me = api.get("/v1/session").json
    vm = make_vm()
    deleted = api.delete(f"/v1/vms/{vm['name']}")
    entry = of_request(api, deleted)
    assert {k: entry[k] for k in ("principal", "name", "address", "method", "operation", "params", "status", "code")} == {
        "principal": me["id"], "name": me["name"], "address": "127.0.0.1", "method": "DELETE",
        "operation": "deleteVm", "params": {"vm": vm["name"]}, "status": deleted.status, "code": None}
    assert 0 <= entry["duration_ms"] < 60000
    events = api.get("/v1/events", limit=1000).json["items"]
    assert any(e["request_id"] == entry["request_id"] for e in events)


def test_a_look_is_not_told_and_a_refusal_is(api, viewer):
    client, made = viewer
    looked = client.get("/v1/vms")
    refused = client.post("/v1/vms", {"name": "not-mine"})
    assert (looked.status, refused.code) == (200, "forbidden")
    entry = of_request(api, refused, principal=f"token:{made['id']}")
    assert (entry["status"], entry["code"], entry["name"]) == (403, "forbidden", "looks-only")
    assert not [e for e in entries(api, limit=1000) if e["request_id"] == looked.header("X-Request-Id")]
    assert client.get("/v1/audit").code == "forbidden"


def test_wrong_input_and_things_that_are_not_there(api):
    wrong = api.post("/v1/vms", {"name": ""})
    missing = api.post("/v1/vms/nosuch/start")
    assert of_request(api, wrong)["code"] == wrong.code
    assert of_request(api, missing, failed=True)["params"] == {"vm": "nosuch"}
    assert all(e["status"] >= 400 for e in entries(api, failed=True, limit=1000))


def test_a_stranger_is_nobody(daemon, api):
    refused = daemon.client(token="drover_" + "x" * 51).delete("/v1/vms/anything")
    entry = of_request(api, refused)
    assert (entry["principal"], entry["name"], entry["status"]) == (None, "", 401)


def test_who_signs_in_is_named_and_who_fails_is_not(daemon, api, viewer):
    _, made = viewer
    page, origin = daemon.client(token=None), {"Origin": daemon.url}
    entered = page.post("/v1/session", {"token": made["token"]}, headers=origin)
    refused = page.post("/v1/session", {"token": "drover_" + "x" * 51}, headers=origin)
    assert (entered.status, refused.status) == (201, 401)
    assert {k: of_request(api, entered)[k] for k in ("name", "principal")} == {
        "name": "looks-only", "principal": entered.json["id"]}
    assert of_request(api, refused)["principal"] is None


def test_an_opened_stream_is_told(daemon, api):
    ws = daemon.websocket("/v1/events")
    ws.close()
    opened = [e for e in entries(api, operation="listEvents", limit=1000) if e["status"] == 101]
    assert opened and opened[0]["method"] == "GET" and opened[0]["address"] == "127.0.0.1"


def test_secrets_are_not_in_it(api, make_vm):
    vm = make_vm(user_data=f"#cloud-config\npassword: {HIDDEN}\n")
    made = api.post("/v1/tickets", {"vm": vm["name"], "stream": "console", "mode": "view"}).json
    api.post(f"/v1/vms/{vm['name']}/start", note=HIDDEN)
    log = api.get("/v1/audit", limit=1000).text
    assert HIDDEN not in log and made["ticket"] not in log


def test_pages_newest_first_and_times(api):
    for i in range(5):
        api.post(f"/v1/vms/page-{i}/start")
    whole = entries(api, operation="startVm", limit=1000)
    assert [e["seq"] for e in whole] == sorted((e["seq"] for e in whole), reverse=True)
    paged, cursor = [], None
    while True:
        page = api.get("/v1/audit", operation="startVm", limit=2, **({"cursor": cursor} if cursor else {})).json
        paged += page["items"]
        cursor = page["next_cursor"]
        if not cursor:
            break
    assert paged == whole
    middle = whole[2]
    since = entries(api, operation="startVm", since=middle["at"], limit=1000)
    until = entries(api, operation="startVm", until=middle["at"], limit=1000)
    assert middle in since and middle not in until and len(since) + len(until) == len(whole)
    for name in ("since", "until"):
        refused = api.get("/v1/audit", **{name: "yesterday"})
        assert refused.status == 400 and name in refused.json["detail"]


def test_a_project_sees_its_own(daemon, api):
    assert api.post("/v1/projects", {"name": "audited"}).status == 201
    made = api.post("/v1/tokens", {"name": "theirs", "role": "admin"}, project="audited").json
    theirs = daemon.client(token=made["token"])
    mine, other = api.post("/v1/vms/mine/start"), theirs.post("/v1/vms/theirs/start")
    assert of_request(api, mine)["project_id"] != of_request(api, other)["project_id"]
    seen = {e["request_id"] for e in entries(theirs, limit=1000)}
    assert other.header("X-Request-Id") in seen and mine.header("X-Request-Id") not in seen
    assert {e["request_id"] for e in entries(api, project="audited", limit=1000)} >= seen
    assert mine.header("X-Request-Id") not in {e["request_id"] for e in entries(api, project="audited", limit=1000)}


def test_it_outlives_the_daemon(fresh_daemon):
    daemon = fresh_daemon()
    asked = daemon.client().post("/v1/vms/nosuch/start")
    daemon.restart()
    assert of_request(daemon.client(), asked)["operation"] == "startVm"


def test_a_flood_of_strangers_leaves_room_for_the_rest(fresh_daemon):
    daemon = fresh_daemon(settings={"auth_failures_per_minute": 100000})
    stranger, api = daemon.client(token="drover_" + "x" * 51), daemon.client()
    for _ in range(400):
        assert stranger.post("/v1/vms/x/start").status == 401
    asked = api.post("/v1/vms/nosuch/start")
    assert of_request(api, asked)
    kept = len([e for e in entries(api, limit=1000) if e["status"] == 401])
    skipped = next(line for line in api.get("/metrics").text.splitlines() if line.startswith("drover_audit_skipped_total "))
    assert kept >= 100 and kept + int(skipped.split()[1]) == 400


def flood(daemon, times):
    """So many requests that fail, of somebody who is known, as fast as one connection takes them."""
    host, port = daemon.address.rsplit(":", 1)
    ask = f"DELETE /v1/vms/nosuch HTTP/1.1\r\nHost: {daemon.address}\r\nAuthorization: Bearer {daemon.admin_token()}\r\n"
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        asking = threading.Thread(target=connection.sendall, args=(
            (ask + "\r\n").encode() * (times - 1) + (ask + "Connection: close\r\n\r\n").encode(),))
        asking.start()
        answers = b"".join(iter(lambda: connection.recv(65536), b""))
        asking.join()
    assert answers.count(b"HTTP/1.1 404") + answers.count(b"HTTP/1.1 503") == times


def test_a_flood_of_failures_leaves_room_for_what_was_done(fresh_daemon):
    """While the disk takes nothing: who would hide what he does behind it only counts up the skipped."""
    daemon = fresh_daemon()
    api = daemon.client()
    with sqlite3.connect(daemon.state_dir / "drover.db", isolation_level=None) as database:
        database.execute("BEGIN IMMEDIATE")
        flood(daemon, 10000)
        daemon.websocket("/v1/events").close()
        database.execute("ROLLBACK")
    found = eventually(lambda: [e for e in entries(api, operation="listEvents") if e["status"] == 101], 30, "the entry")
    assert len(found) == 1
    skipped = next(line for line in api.get("/metrics").text.splitlines() if line.startswith("drover_audit_skipped_total "))
    assert int(skipped.split()[1]) > 0


def test_the_command(daemon, api):
    asked = api.post("/v1/vms/nosuch/start")
    drover = [BUILD / "drover", "--socket", daemon.socket_path, "audit", "list"]
    table = subprocess.run([*drover, "--failed"], capture_output=True, text=True, check=True).stdout
    assert "startVm" in table and "404 vm-not-found" in table and "127.0.0.1" in table
    whole = subprocess.run([*drover, "--all", "-o", "json"], capture_output=True, text=True, check=True).stdout
    assert asked.header("X-Request-Id") in {e["request_id"] for e in json.loads(whole)["items"]}
