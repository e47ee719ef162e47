"""What is said of an image beside its bytes, and what comes of it."""
import json
import os
import subprocess

import pytest
from daemon import BUILD

RAW = b"\x33\xc0" + os.urandom(60000)
PNG = b"\x89PNG\r\n\x1a\n" + b"\1" * 50
WORDS = {"title": "A small Linux", "notes": "root has no password\n<b>really</b>", "architecture": "x86_64",
         "expected_console": "(login|Hello).*:$", "description": "for tests", "vm": {"memory_mib": 64, "vsock": False}}


@pytest.fixture
def image(api, name):
    made = api.post("/v1/images", {"name": name("card"), "kind": "disk", "format": "raw"}).json
    assert api.put(f"/v1/images/{made['id']}/content", RAW).status == 200
    yield api.get(f"/v1/images/{made['id']}").json
    api.delete(f"/v1/images/{made['id']}", retire=True)


def drover(daemon, *args, status=0):
    env = {**os.environ, "DROVER_TOKEN": daemon.admin_token()}
    done = subprocess.run([BUILD / "drover", "--url", daemon.url, *map(str, args)], capture_output=True, text=True, env=env, timeout=120)
    assert done.returncode == status, (args, done)
    return done


def last_event(api):
    since = 0
    while page := api.get("/v1/events", since=since, limit=1000).json["items"]:
        since = page[-1]["seq"]
    return since


def test_words_are_kept(api, image):
    assert image["title"] == "" and image["vm"] == {} and image["expected_console"] is None and not image["has_screenshot"]
    before = last_event(api)
    changed = api.patch(f"/v1/images/{image['id']}", WORDS)
    assert changed.status == 200 and changed.header("ETag") == f'"{changed.json["etag"]}"' != f'"{image["etag"]}"', changed
    assert {k: changed.json[k] for k in WORDS} == WORDS
    assert changed.json["files"] == image["files"] and changed.json["state"] == "ready"
    # A merge: what is not named stays, null empties, the definition is merged, too.
    again = api.patch(f"/v1/images/{image['name']}", {"notes": None, "expected_console": None, "vm": {"vsock": None, "cpus": 2}}).json
    assert again["notes"] == "" and again["expected_console"] is None and again["title"] == WORDS["title"]
    assert again["vm"] == {"memory_mib": 64, "cpus": 2}
    assert api.get(f"/v1/images/{image['id']}").json == again
    assert api.patch(f"/v1/images/{image['id']}", {"vm": None}).json["vm"] == {}
    assert [e["type"] for e in api.get("/v1/events", since=before, limit=1000).json["items"] if e["subject"]["id"] == image["id"]] == ["image.changed"] * 3


def test_only_what_was_read_is_changed(api, image):
    path = f"/v1/images/{image['id']}"
    first = api.patch(path, {"title": "one"}, headers={"If-Match": f'"{image["etag"]}"'})
    assert first.status == 200, first
    late = api.patch(path, {"title": "two"}, headers={"If-Match": f'"{image["etag"]}"'})
    assert late.code == "precondition-failed" and "Read it again" in late.json["remedy"], late
    assert api.put(path + "/screenshot", PNG, headers={"If-Match": f'"{image["etag"]}"'}).code == "precondition-failed"
    assert api.delete(path + "/screenshot", headers={"If-Match": f'"{image["etag"]}"'}).code == "precondition-failed"
    assert api.get(path).json["title"] == "one" and not api.get(path).json["has_screenshot"]
    assert api.patch(path, {"title": "three"}, headers={"If-Match": "*"}).status == 200


@pytest.mark.parametrize("patch, pointer", [
    ({"name": "other"}, "/name"), ({"format": "qcow2"}, "/format"), ({"state": "ready"}, "/state"), ({"files": {}}, "/files"),
    ({"title": 5}, "/title"), ({"title": "x" * 257}, "/title"), ({"notes": "x" * 4097}, "/notes"), ({"architecture": "x" * 65}, "/architecture"),
    ({"expected_console": ""}, "/expected_console"), ({"expected_console": "(open"}, "/expected_console"), ({"expected_console": "x" * 513}, "/expected_console"),
    ({"vm": 5}, "/vm"), ({"vm": ["cpus"]}, "/vm"), ({"vm": {"cpus": 0}}, "/vm/cpus"), ({"vm": {"cpus": "two"}}, "/vm/cpus"),
    ({"vm": {"memory_mib": -1}}, "/vm/memory_mib"), ({"vm": {"user_data": "#!"}}, "/vm/user_data"), ({"vm": {"name": "x"}}, "/vm/name"),
    ({"vm": {"networks": []}}, "/vm/networks"), ({"vm": {"a/b": 1}}, "/vm/a~1b"), ({"description": "x" * 1025}, "/description"),
])
def test_what_is_wrong_changes_nothing(api, image, patch, pointer):
    refused = api.patch(f"/v1/images/{image['id']}", {"title": "not kept", **patch})
    assert refused.status == 422 and refused.code == "validation-failed" and refused.json["pointer"] == pointer, refused
    assert api.get(f"/v1/images/{image['id']}").json == image


def test_what_is_no_patch(api, image):
    for body in ([], "x", 5):
        assert api.patch(f"/v1/images/{image['id']}", body).status == 422
    assert api.patch("/v1/images/none", {"title": "x"}).code == "image-not-found"
    assert api.put("/v1/images/none/screenshot", PNG).code == "image-not-found"
    assert api.get("/v1/images/none/screenshot").code == "image-not-found"
    assert api.delete("/v1/images/none/screenshot").code == "image-not-found"
    assert api.post("/v1/images/none/run", {}).code == "image-not-found"
    assert api.get(f"/v1/images/{image['id']}").json == image


def test_a_picture(api, image, daemon):
    path = f"/v1/images/{image['id']}/screenshot"
    assert api.get(path).code == "image-not-found"
    sent = api.put(path, PNG)
    assert sent.status == 200 and sent.json["has_screenshot"], sent
    shown = api.get(path)
    assert shown.status == 200 and shown.body == PNG and shown.header("Content-Type") == "image/png"
    for bad, code in ((b"GIF89a" + b"\0" * 60, "image-refused"), (b"", "image-refused"), (b"\x89PNG", "image-refused"),
                      (PNG + b"\0" * 200000, "body-too-large")):
        assert api.put(path, bad).code == code
    assert api.get(path).body == PNG
    largest = PNG + b"\2" * (190 * 1024 - len(PNG))
    assert api.put(path, largest).status == 200 and api.get(path).body == largest
    assert api.delete(path).status == 204 and api.delete(path).status == 204
    assert not api.get(f"/v1/images/{image['id']}").json["has_screenshot"]


def test_a_vm_has_what_the_image_says(api, image, name):
    api.patch(f"/v1/images/{image['id']}", {"vm": {"memory_mib": 64, "vsock": False, "cpus": 2}})
    one = api.post(f"/v1/images/{image['name']}/run", {"name": name("of"), "vm": {"cpus": 1}}, headers={"Idempotency-Key": name("key")})
    assert one.status == 201 and one.header("Location") == f"/v1/vms/{one.json['id']}", one
    assert (one.json["memory_mib"], one.json["cpus"], one.json["vsock"], one.json["image"]) == (64, 1, False, image["name"])
    assert api.get(f"/v1/operations/{one.json['operation']['id']}", wait=60, patience=90).json["state"] == "succeeded"
    two = api.post(f"/v1/images/{image['name']}/run", {})
    assert two.status == 201 and two.json["name"] == image["name"] and two.json["cpus"] == 2, two
    for body, pointer in (({"name": "No Name"}, "/name"), ({"vm": 5}, "/vm"), ({"vm": {"cpus": 0}}, "/cpus"), ({"cpus": 2}, "/cpus")):
        refused = api.post(f"/v1/images/{image['id']}/run", body)
        assert refused.status == 422 and refused.json["pointer"] == pointer, refused
    assert api.post(f"/v1/images/{image['id']}/run", {}).code == "name-in-use"
    for vm in (one, two):
        api.delete(f"/v1/vms/{vm.json['id']}", force=True, wait=60, patience=90)


def test_words_outlive_the_daemon(fresh_daemon):
    daemon = fresh_daemon()
    api = daemon.client()
    made = api.post("/v1/images", {"name": "kept", "kind": "disk", "format": "raw"}).json
    api.put(f"/v1/images/{made['id']}/content", RAW)
    api.patch("/v1/images/kept", WORDS)
    before = api.put("/v1/images/kept/screenshot", PNG).json
    daemon.kill9()
    daemon.start()
    api = daemon.client()
    assert api.get("/v1/images/kept").json == before
    assert api.get("/v1/images/kept/screenshot").body == PNG


def test_the_command_edits_and_publishes(api, daemon, image, tmp_path):
    (tmp_path / "notes").write_text("two\nlines: here\n")
    (tmp_path / "a.png").write_bytes(PNG)
    drover(daemon, "image", "set", image["name"], "title=Debian: 12", f"notes=@{tmp_path}/notes", "expected_console=login: ?$",
           "vm.memory_mib=96", "vm.vsock=false", f"screenshot=@{tmp_path}/a.png", "--if-match", image["etag"])
    shown = api.get(f"/v1/images/{image['id']}").json
    assert (shown["title"], shown["notes"], shown["vm"]) == ("Debian: 12", "two\nlines: here\n", {"memory_mib": 96, "vsock": False})
    assert shown["has_screenshot"] and shown["expected_console"] == "login: ?$"
    assert "changed" in drover(daemon, "image", "set", image["name"], "title=x", "--if-match", image["etag"], status=5).stderr
    drover(daemon, "image", "set", image["name"], "title", status=2)
    drover(daemon, "image", "set", image["name"], f"screenshot=@{tmp_path}/none.png", status=2)

    (tmp_path / f"{image['name']}.raw").write_bytes(RAW)
    (tmp_path / "catalogue.json").write_text(json.dumps({"entries": [{"image": image["name"], "revision": 4}]}))
    public = drover(daemon, "catalogue", "key", tmp_path / "key").stdout.strip()
    assert public and "1 entries" in drover(daemon, "catalogue", "build", tmp_path, "--key", tmp_path / "key").stdout
    entry = json.loads((tmp_path / "index.json").read_text())["entries"][0]
    assert entry["title"] == "Debian: 12" and entry["vm"] == shown["vm"] and entry["kind"] == "disk" and entry["format"] == "raw"
    assert entry["screenshot"] and entry["files"]["content"]["sha256"] == shown["files"]["content"]["sha256"] and "image" not in entry
    (tmp_path / f"{image['name']}.raw").write_bytes(RAW + b"other")
    assert "does not hold the content" in drover(daemon, "catalogue", "build", tmp_path, "--key", tmp_path / "key", status=5).stderr

    drover(daemon, "image", "set", image["name"], "screenshot=", "title=", "vm=")
    shown = api.get(f"/v1/images/{image['id']}").json
    assert not shown["has_screenshot"] and shown["title"] == "" and shown["vm"] == {}
    assert "runs" in drover(daemon, "image", "run", image["name"]).stdout
    assert api.delete(f"/v1/vms/{image['name']}", force=True, wait=60, patience=90).status in (200, 202)
