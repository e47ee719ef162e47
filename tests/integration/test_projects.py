"""Projects: what belongs to another one is, byte for byte, what is not there."""
import os
import subprocess
import uuid

import ownership
import pytest
from daemon import BUILD, Daemon
from ownership import SMALL, made
from validate import Contract


@pytest.fixture(scope="module")
def daemon():
    with Daemon(check=Contract().check, settings={"webhook_private": 1}) as d:
        yield d


@pytest.fixture(scope="module")
def admin(daemon):
    return daemon.client()


@pytest.fixture(scope="module")
def other(daemon, admin):
    """Another project, and its administrator."""
    made(admin.post("/v1/projects", {"name": "other"}))
    token = made(admin.post("/v1/tokens", {"name": "other-admin", "role": "admin"}, project="other"))
    return daemon.client(token=token["token"])


@pytest.fixture(scope="module")
def owned(admin):
    return ownership.make(admin)


# ---- living in one ----

def test_names_are_a_projects_own(admin, other, owned):
    mine = made(other.post("/v1/vms", {"name": "own-vm", **SMALL}))
    assert mine["id"] != owned["vm"][0] and mine["project_id"] == other.get("/v1/session").json["project_id"]
    started = other.post("/v1/vms/own-vm/start", wait=30, patience=60)
    assert started.json["state"] == "succeeded", started
    assert admin.get("/v1/vms/own-vm").json["state"] == "stopped"
    types = [e["type"] for e in other.get("/v1/events", limit=1000).json["items"] if e["subject"]["id"] == mine["id"]]
    assert types[0] == "vm.created" and "vm.state" in types
    assert other.delete("/v1/vms/own-vm", force=True, wait=30, patience=60).json["state"] == "succeeded"
    assert admin.get("/v1/vms/own-vm").status == 200


def test_who_looks_after_projects_may_act_in_any(admin, other):
    vm = made(admin.post("/v1/vms", {"name": "by-admin", **SMALL}, project="other"))
    assert other.get("/v1/vms/by-admin").json["id"] == vm["id"]
    assert admin.get("/v1/vms/by-admin").status == 404
    assert admin.get("/v1/vms/by-admin", project="other").json["id"] == vm["id"]
    assert admin.get("/v1/session", project="other").json["project"] == "other"
    assert admin.get("/v1/quotas", project="other").json["project"]["usage"]["vms"] == 1
    assert other.delete("/v1/vms/by-admin", wait=30, patience=60).json["state"] == "succeeded"


def test_nobody_else_may(other):
    for ref in ("default", "no-such-project"):
        refused = other.get("/v1/vms", project=ref)
        assert refused.status == 400 and refused.json["pointer"] == "project", refused
        assert refused.json["detail"] == f"there is no project {ref}"
    assert other.get("/v1/vms", project="other").status == 200


def test_the_same_key_in_another_project_is_another_request(admin, other):
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    first = made(admin.post("/v1/vms", {"name": "keyed", **SMALL}, headers=headers))
    again = admin.post("/v1/vms", {"name": "keyed", **SMALL}, headers=headers, project="other")
    assert again.status == 422 and again.code == "idempotency-key-reused", again
    assert admin.post("/v1/vms", {"name": "keyed", **SMALL}, headers=headers).json["id"] == first["id"]
    assert admin.delete("/v1/vms/keyed", wait=30, patience=60).json["state"] == "succeeded"


def test_what_concerns_the_host_is_not_a_projects(other):
    scopes = other.get("/v1/session").json["scopes"]
    assert not {"host:write", "ksm:read", "project:write"} & set(scopes) and "token:write" in scopes
    for refused in (other.patch("/v1/ksm", {"mode": "off"}), other.post("/v1/projects", {"name": "more"}),
                    other.patch("/v1/projects/other", {"quota": {"vms": None}}), other.delete("/v1/projects/other"),
                    other.post("/v1/catalogue-sources", {"name": "x", "url": "https://192.0.2.1/", "key": "x"}),
                    other.delete("/v1/catalogue-sources/x"), other.post("/v1/catalogue-sources/x/refresh")):
        assert refused.status == 403 and refused.code == "forbidden", refused
    wanted = other.post("/v1/tokens", {"name": "x", "role": "admin", "scopes": ["host:write"]})
    assert wanted.status in (403, 422), wanted
    shown = other.get("/v1/ksm").json
    assert shown.get("coarse") is True and "pages_sharing" not in shown
    assert "merge_with" not in other.get("/v1/projects/other").json
    own = other.get("/metrics").text
    assert 'drover_quota_used{project="other"' in own and "process_resident_memory_bytes" not in own


def test_a_share_link_opens_its_projects_vm_only(daemon, admin, other, owned):
    link = made(admin.post("/v1/tickets", {"vm": "own-vm", "stream": "console", "mode": "view"}))
    answer = daemon.client(token=None).request(
        "GET", f"/v1/vms/{owned['vm'][0]}/console", ticket=link["ticket"], mode="view",
        headers={"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
                 "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="})
    assert answer.status != 410, answer  # it got as far as the VM
    assert other.post("/v1/tickets", {"vm": owned["vm"][0], "stream": "console"}).status == 404


# ---- making, changing, deleting ----

def test_a_project_has_a_life(admin):
    one = admin.post("/v1/projects", {"name": "short", "quota": {"vms": 1}, "memory_merge": True,
                                      "merge_with": ["default"]})
    assert one.status == 201 and one.header("Location") == "/v1/projects/short"
    assert one.json["quota"]["vms"] == 1 and one.json["memory_merge"] and one.json["merge_with"] == ["default"]
    changed = admin.patch("/v1/projects/short", {"merge_with": [], "quota": {"vms": None}})
    assert changed.json["merge_with"] == [] and changed.json["quota"]["vms"] is None and changed.json["memory_merge"]
    made(admin.post("/v1/vms", {"name": "x", **SMALL}, project="short"))
    full = admin.delete("/v1/projects/short")
    assert full.status == 409 and full.code == "project-not-empty" and "1 VM" in full.json["detail"], full
    assert admin.delete("/v1/vms/x", project="short", wait=30, patience=60).json["state"] == "succeeded"
    assert admin.delete("/v1/projects/short").status == 204
    assert admin.get("/v1/projects/short").status == 404
    again = made(admin.post("/v1/projects", {"name": "short"}))
    assert again["id"] != one.json["id"] and again["quota"]["vms"] is None and not again["memory_merge"]
    assert admin.delete("/v1/projects/short").status == 204
    types = [e["type"] for e in admin.get("/v1/events", limit=1000).json["items"] if e["subject"]["name"] == "short"]
    assert types == ["project.created", "project.changed", "project.deleted", "project.created", "project.deleted"]


@pytest.mark.parametrize("body,pointer", [
    ({}, "/name"), ({"name": "Upper"}, "/name"), ({"name": "a.b"}, "/name"), ({"name": ""}, "/name"),
    ({"name": "x", "memory_merge": 1}, "/memory_merge"), ({"name": "x", "merge_with": "y"}, "/merge_with"),
    ({"name": "x", "merge_with": ["no-such"]}, "/merge_with/0"), ({"name": "x", "merge_with": [5]}, "/merge_with/0"),
    ({"name": "x", "merge_with": ["default", "default"]}, "/merge_with/1"),
    ({"name": "x", "merge_with": ["default"] * 17}, "/merge_with"), ({"name": "x", "quota": {"beer": 1}}, "/quota/beer"),
    ({"name": "x", "colour": "red"}, "/colour"),
])
def test_bad_bodies_change_nothing(admin, body, pointer):
    before = admin.get("/v1/projects").json
    refused = admin.post("/v1/projects", body)
    assert refused.status == 422 and refused.json["pointer"] == pointer, refused
    assert admin.get("/v1/projects").json == before


def test_a_name_is_taken_once(admin, other):
    taken = admin.post("/v1/projects", {"name": "other"})
    assert taken.status == 409 and taken.code == "name-in-use" and taken.json["pointer"] == "/name"
    assert admin.patch("/v1/projects/other", {"name": "renamed"}).status == 422
    kept = admin.delete("/v1/projects/default")
    assert kept.status == 403 and kept.json["remedy"]
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    first = made(admin.post("/v1/projects", {"name": "twice"}, headers=headers))
    again = admin.post("/v1/projects", {"name": "twice"}, headers=headers)
    assert again.status == 201 and again.json["id"] == first["id"] and again.header("Idempotency-Replayed") == "true"
    assert admin.delete("/v1/projects/twice").status == 204


def test_projects_survive_a_restart(fresh_daemon):
    daemon = fresh_daemon()
    admin = daemon.client()
    made(admin.post("/v1/projects", {"name": "lasting", "memory_merge": True, "merge_with": ["default"]}))
    token = made(admin.post("/v1/tokens", {"name": "t", "role": "admin"}, project="lasting"))["token"]
    before = admin.get("/v1/projects/lasting").json
    daemon.restart()
    assert daemon.client().get("/v1/projects/lasting").json == before
    me = daemon.client(token=token).get("/v1/session").json
    assert me["project"] == "lasting" and "host:write" not in me["scopes"]


# ---- the command ----

def test_the_command_acts_in_a_project(daemon, admin, other):
    environment = {"PATH": os.environ["PATH"], "DROVER_URL": daemon.url, "DROVER_TOKEN": daemon.admin_token()}

    def drover(*words, status=0):
        done = subprocess.run([BUILD / "drover", *words], env=environment, capture_output=True, text=True, timeout=60,
                              check=False)
        assert done.returncode == status, done
        return done.stdout

    drover("project", "create", "by-hand", "--merge", "--quota", "vms=2")
    assert "by-hand" in drover("project", "list")
    drover("project", "set", "by-hand", "--merge-with", "other", "--no-merge")
    assert admin.get("/v1/projects/by-hand").json["merge_with"] == ["other"]
    token = drover("token", "create", "worker", "--role", "operator", "--project", "by-hand").strip()
    assert daemon.client(token=token).get("/v1/session").json["project"] == "by-hand"
    drover("project", "rm", "by-hand", status=5)
    listed = drover("token", "list", "-o", "name", "--project", "by-hand").split()
    assert len(listed) == 1
    drover("token", "revoke", listed[0], "--project", "by-hand")
    drover("project", "rm", "by-hand")
    assert "by-hand" not in drover("project", "list")
