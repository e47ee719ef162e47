"""Images after their arrival: published, labelled, retired, stood on, read again."""
import os
import subprocess

import pytest
from daemon import eventually

RAW = b"\x33\xc0" + os.urandom(200000) + b"\0" * 100000


@pytest.fixture
def image(api, name):
    """image() is a raw disk image that is ready; image(data)."""
    made = []

    def make(data=RAW, fmt="raw", of=None):
        response = api.post("/v1/images", {"name": of or name("img"), "kind": "disk", "format": fmt})
        assert response.status == 201, response
        made.append(response.json["id"])
        response = api.put(f"/v1/images/{response.json['id']}/content", data)
        assert response.status == 200, response
        return response.json

    yield make
    for each in made:
        api.delete(f"/v1/images/{each}", retire=True)


@pytest.fixture
def label(api, name):
    made = []

    def put(target, of=None, **body):
        of = of or name("label")
        made.append(of)
        return api.request("PUT", f"/v1/image-labels/{of}", {"image": target, **body})

    yield put
    for each in made:
        api.delete(f"/v1/image-labels/{each}")


def root_disk(daemon, vm):
    return daemon.state_dir / "vms" / vm["id"] / "root.qcow2"


def write(disk, offset, size, pattern):
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", f"write -P {pattern} {offset} {size}", disk], check=True,
                   stdout=subprocess.DEVNULL)


def raw_of(disk, tmp_path):
    out = tmp_path / "raw"
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", disk, out], check=True)
    return out.read_bytes()


def backing_of(disk):
    import json
    out = subprocess.run(["qemu-img", "info", "-f", "qcow2", "--output=json", disk], check=True, capture_output=True)
    return json.loads(out.stdout).get("backing-filename")


# ---- publish ----

def test_publish_a_stopped_vm(api, daemon, image, make_vm, name, tmp_path):
    vm = make_vm(image=image()["name"])
    write(root_disk(daemon, vm), 65536, 65536, 0x41)
    made = api.post("/v1/images", {"name": name("pub"), "kind": "disk", "format": "qcow2", "source": {"vm": vm["name"]}})
    assert made.status == 201 and made.json["source"] == {"vm": vm["id"]}, made
    operation = api.get(f"/v1/operations/{made.json['operation']['id']}", wait=60, patience=90).json
    assert operation["state"] == "succeeded" and operation["kind"] == "image.publish", operation
    assert operation["vm_id"] == vm["id"] and operation["progress"]["done_bytes"] > 0
    ready = api.get(f"/v1/images/{made.json['id']}").json
    content = daemon.state_dir / "images" / ready["files"]["content"]["sha256"]
    assert backing_of(content) is None
    assert raw_of(content, tmp_path)[65536:131072] == b"\x41" * 65536
    api.delete(f"/v1/images/{made.json['id']}")


def test_only_a_stopped_vm_with_a_disk_is_published(api, image, make_vm, name):
    body = {"name": name(), "kind": "disk", "format": "qcow2"}
    running = make_vm(image=image()["name"], start=True)
    response = api.post("/v1/images", {**body, "source": {"vm": running["name"]}})
    assert response.code == "vm-state-conflict" and response.json["pointer"] == "/source/vm", response
    bare = make_vm()
    response = api.post("/v1/images", {**body, "source": {"vm": bare["name"]}})
    assert response.status == 422 and response.json["pointer"] == "/source/vm", response
    for verb in ("flatten", "rebase"):
        value = {"image": image()["name"]} if verb == "rebase" else None
        assert api.post(f"/v1/vms/{running['id']}/{verb}", value).code == "vm-state-conflict"
        assert api.post(f"/v1/vms/{bare['id']}/{verb}", value).code == "vm-state-conflict"


# ---- flatten, rebase, retire ----

def test_flatten_sets_the_image_free(api, daemon, image, make_vm, tmp_path):
    base = image()
    vm = make_vm(image=base["name"])
    write(root_disk(daemon, vm), 0, 4096, 0x42)
    before = raw_of(root_disk(daemon, vm), tmp_path)
    assert api.delete(f"/v1/images/{base['id']}").code == "image-in-use"
    operation = api.post(f"/v1/vms/{vm['id']}/flatten", wait=60, patience=90)
    assert operation.status == 200 and operation.json["state"] == "succeeded", operation
    assert operation.json["progress"]["done_bytes"] > len(RAW) / 2
    assert backing_of(root_disk(daemon, vm)) is None and raw_of(root_disk(daemon, vm), tmp_path) == before
    assert api.post(f"/v1/vms/{vm['id']}/flatten").code == "vm-state-conflict"
    assert api.delete(f"/v1/images/{base['id']}").status == 204
    started = api.post(f"/v1/vms/{vm['id']}/start", wait=30)
    assert started.json["state"] == "succeeded", started
    api.post(f"/v1/vms/{vm['id']}/stop", wait=30)


def test_rebase_keeps_what_the_guest_sees(api, daemon, image, make_vm, tmp_path):
    old, new = image(), image(RAW[:100000] + b"\x99" * 200002)
    vm = make_vm(image=old["name"])
    write(root_disk(daemon, vm), 4096, 4096, 0x43)
    before = raw_of(root_disk(daemon, vm), tmp_path)
    operation = api.post(f"/v1/vms/{vm['id']}/rebase", {"image": new["name"]}, wait=60, patience=90)
    assert operation.status == 200 and operation.json["state"] == "succeeded", operation
    assert raw_of(root_disk(daemon, vm), tmp_path) == before
    assert backing_of(root_disk(daemon, vm)).endswith(new["files"]["content"]["sha256"])
    assert api.get(f"/v1/vms/{vm['id']}").json["image"] == new["name"]
    assert api.delete(f"/v1/images/{old['id']}").status == 204
    assert api.delete(f"/v1/images/{new['id']}").code == "image-in-use"
    for bad, code in (({"image": "nothing"}, "unknown-image"), ({}, "validation-failed"),
                      ({"image": new["name"], "keep": 1}, "validation-failed")):
        assert api.post(f"/v1/vms/{vm['id']}/rebase", bad).code == code


def test_a_retired_image_goes_with_its_last_vm(api, daemon, image, make_vm, name):
    base = image()
    vm = make_vm(image=base["name"])
    assert api.delete(f"/v1/images/{base['id']}", retire=True).status == 204
    shown = api.get(f"/v1/images/{base['id']}").json
    assert shown["state"] == "retired" and shown["used_by"] == 1
    assert api.get(f"/v1/images/{base['name']}").status == 404
    assert api.post("/v1/vms", {"name": name(), "image": base["name"]}).code == "unknown-image"
    assert api.post("/v1/vms", {"name": name(), "image": base["id"]}).code == "image-state-conflict"
    again = image(RAW + b"x", of=base["name"])  # the name is free
    assert api.post(f"/v1/vms/{vm['id']}/start", wait=30).json["state"] == "succeeded"
    api.delete(f"/v1/vms/{vm['id']}", force=True, wait=30)
    eventually(lambda: api.get(f"/v1/images/{base['id']}").status == 404, what="the retired image going")
    # Its row goes first.
    eventually(lambda: not (daemon.state_dir / "images" / base["files"]["content"]["sha256"]).exists(), what="its bytes going")
    assert api.get(f"/v1/images/{again['id']}").json["state"] == "ready"


def test_what_is_retired_stays_so_across_a_restart(fresh_daemon):
    daemon = fresh_daemon()
    api = daemon.client()
    base = api.post("/v1/images", {"name": "base", "kind": "disk", "format": "raw"}).json
    api.put(f"/v1/images/{base['id']}/content", RAW)
    vm = api.post("/v1/vms", {"name": "vm", "image": "base"}).json
    api.get(f"/v1/operations/{vm['operation']['id']}", wait=30)
    api.request("PUT", "/v1/image-labels/other", {"image": "base"})
    assert api.delete("/v1/images/base", retire=True).code == "image-in-use"  # labelled
    api.delete("/v1/image-labels/other")
    assert api.delete("/v1/images/base", retire=True).status == 204
    daemon.restart()
    api = daemon.client()
    assert api.get(f"/v1/images/{base['id']}").json["state"] == "retired"
    api.delete("/v1/vms/vm", force=True, wait=30)
    eventually(lambda: api.get("/v1/images").json["items"] == [], what="the retired image going")


# ---- labels ----

def test_vms_are_made_by_label(api, image, label, make_vm, name):
    first, second, ci = image(), image(RAW + b"2"), name("ci")
    made = label(first["name"], ci)
    assert made.status == 200 and made.json["version"] == 1 and made.json["image_id"] == first["id"], made
    one = make_vm(image=ci)
    assert label(second["name"], ci).json["version"] == 2
    two = make_vm(image=ci)
    assert api.get(f"/v1/images/{first['id']}").json["used_by"] == 1
    assert api.get(f"/v1/images/{second['id']}").json["used_by"] == 1
    assert api.get(f"/v1/images/{ci}").json["id"] == second["id"]
    versions = api.get(f"/v1/image-labels/{ci}").json["versions"]
    assert [(v["version"], v["image_id"]) for v in versions] == [(2, second["id"]), (1, first["id"])]
    assert ci in [each["name"] for each in api.get("/v1/image-labels").json["items"]]
    assert one["id"] != two["id"]


def test_a_label_keeps_so_many_versions(api, image, label, make_vm, name):
    ci, images = name("keep"), [image(RAW + bytes([i])) for i in range(5)]
    vm = make_vm(image=images[1]["name"])
    for each in images:
        response = label(each["id"], ci, keep=2)
        assert response.status == 200, response
    assert [v["version"] for v in response.json["versions"]] == [5, 4]
    states = [api.get(f"/v1/images/{each['id']}") for each in images]
    assert [s.status for s in states] == [404, 200, 404, 200, 200]
    assert states[1].json["state"] == "retired"  # a VM stands on it
    api.delete(f"/v1/vms/{vm['id']}", force=True, wait=30)
    eventually(lambda: api.get(f"/v1/images/{images[1]['id']}").status == 404, what="the third going")
    assert label(images[4]["id"], ci).json["version"] == 5  # no move, no version


def test_what_is_wrong_with_a_label(api, image, label, name):
    ready, empty = image(), api.post("/v1/images", {"name": name("empty"), "kind": "iso"}).json
    assert label("nothing").code == "unknown-image"
    assert label(empty["name"]).code == "image-state-conflict"
    assert label(ready["name"], ready["name"]).code == "name-in-use"
    assert label(ready["name"], "Bad_Name").status == 400
    assert label(ready["name"], keep=-1).code == "validation-failed"
    assert label(ready["name"], extra=1).json["pointer"] == "/extra"
    assert api.get("/v1/image-labels/none").code == "label-not-found"
    assert api.delete("/v1/image-labels/none").code == "label-not-found"
    ci = name("ci")
    assert label(ready["name"], ci).status == 200
    response = api.delete(f"/v1/images/{ready['id']}", retire=True)
    assert response.code == "image-in-use" and ci in response.json["detail"]
    api.delete(f"/v1/images/{empty['id']}")


def test_an_image_and_a_label_never_share_a_name(api, image, label, make_vm, name):
    """Both are found by it: an image of that name would quietly take the label's place."""
    first, ci = image(), name("ci")
    assert label(first["name"], ci).status == 200
    body = {"name": ci, "kind": "disk", "format": "raw"}
    refused = api.post("/v1/images", body)
    assert refused.code == "name-in-use" and f"label called {ci}" in refused.json["detail"], refused
    checks = api.post("/v1/images", body, dry_run=True).json
    assert [(c["name"], c["ok"]) for c in checks["checks"]] == [("name", False), ("free_space", True)] and not checks["ok"]
    assert api.get(f"/v1/images/{ci}").json["id"] == first["id"]
    assert api.delete(f"/v1/image-labels/{ci}").status == 204
    assert api.post("/v1/images", body, dry_run=True).json["ok"]
    assert image(of=ci)["name"] == ci
    assert label(first["name"], ci).code == "name-in-use"
    assert api.get(f"/v1/images/{ci}").json["id"] != first["id"]


# ---- verification ----

def rot(daemon, image, size=4):
    """Some bytes of its content change where nobody looks; the old ones."""
    path = daemon.state_dir / "images" / image["files"]["content"]["sha256"]
    path.chmod(0o644)
    with open(path, "r+b") as file:
        file.seek(1000)
        old = file.read(size)
        file.seek(1000)
        file.write(bytes(b ^ 0xff for b in old))


def events_of(api, image_or_vm):
    found, since = [], 0
    while page := api.get("/v1/events", since=since, limit=1000).json["items"]:
        found += [e for e in page if e["subject"]["id"] == image_or_vm["id"]]
        since = page[-1]["seq"]
    return found


def metric(api, line):
    return int(next(text for text in api.get("/metrics").text.splitlines() if text.startswith(line + " ")).split()[-1])


def test_verification_finds_what_rotted(api, daemon, image):
    good = image(RAW + b"good")
    operation = api.post(f"/v1/images/{good['id']}/verify", wait=30)
    assert operation.status == 200 and operation.json["state"] == "succeeded", operation
    content = api.get(f"/v1/images/{good['id']}").json["files"]["content"]
    assert content["verified_at"] and not content["damaged_at"]
    bad = image(RAW + b"bad")
    rot(daemon, bad)
    operation = api.post(f"/v1/images/{bad['id']}/verify", wait=30).json
    assert operation["state"] == "failed" and operation["error"]["code"] == "digest-mismatch", operation
    assert "same bytes again" in operation["error"]["remedy"]
    shown = api.get(f"/v1/images/{bad['id']}").json
    assert shown["state"] == "failed" and "changed on the disk" in shown["state_reason"] and shown["files"]["content"]["damaged_at"]
    assert api.post("/v1/images/none/verify").code == "image-not-found"


def test_the_same_bytes_repair_every_image_that_has_them(api, daemon, image, make_vm, name):
    data = RAW + b"shared"
    first, twin = image(data), image(data)
    vm = make_vm(image=first["name"])
    rot(daemon, first)
    assert api.post(f"/v1/images/{twin['id']}/verify", wait=30).json["state"] == "failed"
    for each in (first, twin):
        assert api.get(f"/v1/images/{each['id']}").json["state"] == "failed"
    assert api.post("/v1/vms", {"name": name(), "image": first["name"]}).code == "image-state-conflict"
    # The VM that stands on it is told; it does not start on bytes that are wrong.
    told = [e for e in events_of(api, vm) if e["type"] == "vm.image_damaged"]
    assert len(told) == 1 and told[0]["data"] == {"image_id": first["id"], "image_name": first["name"]}
    refused = api.post(f"/v1/vms/{vm['id']}/start", wait=30).json
    assert refused["state"] == "failed" and refused["error"]["code"] == "image-state-conflict", refused
    assert "changed on the disk" in refused["error"]["detail"] and "repair" in refused["error"]["remedy"]
    # Verified again, nothing is told twice; other bytes do not repair it.
    api.post(f"/v1/images/{first['id']}/verify", wait=30)
    assert len([e for e in events_of(api, vm) if e["type"] == "vm.image_damaged"]) == 1
    assert api.put(f"/v1/images/{first['id']}/content", data + b"!").code == "image-state-conflict"
    repaired = api.put(f"/v1/images/{first['id']}/content", data)
    assert repaired.status == 200 and repaired.json["state"] == "ready" and not repaired.json["files"]["content"]["damaged_at"], repaired
    assert api.get(f"/v1/images/{twin['id']}").json["state"] == "ready"
    assert (daemon.state_dir / "images" / first["files"]["content"]["sha256"]).read_bytes() == data
    assert [e["type"] for e in events_of(api, twin) if e["type"].startswith("image.")][-2:] == ["image.damaged", "image.repaired"]
    assert "vm.image_repaired" in [e["type"] for e in events_of(api, vm)]
    assert api.post(f"/v1/vms/{vm['id']}/start", wait=30).json["state"] == "succeeded"
    assert api.post(f"/v1/images/{twin['id']}/verify", wait=30).json["state"] == "succeeded"
    # A new image with bytes that have rotted elsewhere has them whole, and repairs the others.
    rot(daemon, first)
    assert api.post(f"/v1/images/{first['id']}/verify", wait=30).json["state"] == "failed"
    third = image(data)
    assert third["state"] == "ready" and api.get(f"/v1/images/{first['id']}").json["state"] == "ready"
    assert api.post(f"/v1/images/{third['id']}/verify", wait=30).json["state"] == "succeeded"


def test_the_schedule_finds_what_rotted(fresh_daemon):
    """Two hours pass while the daemon is off: the rows say so, and its janitor looks when it starts."""
    import sqlite3
    daemon = fresh_daemon(settings={"image_verify_hours": 1})
    api = daemon.client()
    made = {}
    for each in ("good", "bad", "fresh"):
        made[each] = api.post("/v1/images", {"name": each, "kind": "disk", "format": "raw"}).json
        made[each] = api.put(f"/v1/images/{made[each]['id']}/content", RAW + each.encode()).json
    vm = api.post("/v1/vms", {"name": "stands-on-it", "image": "bad"}).json
    assert api.get(f"/v1/operations/{vm['operation']['id']}", wait=30).json["state"] == "succeeded"
    rot(daemon, made["bad"])
    rot(daemon, made["fresh"])  # its turn has not come
    daemon.stop()
    with sqlite3.connect(daemon.state_dir / "drover.db") as db:
        db.execute("UPDATE images SET created_at = created_at - 7200000 WHERE name IN ('good', 'bad')")
    db.close()
    daemon.start()
    api = daemon.client()
    damaged = eventually(lambda: [e for e in events_of(api, made["bad"]) if e["type"] == "image.damaged"],
                         60, what="the schedule finding it")
    assert damaged[0]["actor"] == "system" and damaged[0]["data"]["used_by"] == 1, damaged
    assert "changed on the disk" in damaged[0]["data"]["reason"]
    shown = api.get("/v1/images/bad").json
    assert shown["state"] == "failed" and shown["files"]["content"]["damaged_at"]
    assert [e["type"] for e in events_of(api, vm)].count("vm.image_damaged") == 1
    eventually(lambda: api.get("/v1/images/good").json["files"]["content"]["verified_at"], 60, what="the good one's turn")
    assert api.get("/v1/images/good").json["state"] == "ready"
    fresh = api.get("/v1/images/fresh").json
    assert fresh["state"] == "ready" and not fresh["files"]["content"]["verified_at"]
    assert metric(api, "drover_images_damaged") == 1
    assert metric(api, 'drover_images{state="failed"}') == 1 and metric(api, 'drover_images{state="ready"}') == 2

    def verifications():
        return sorted((o["state"], o["actor"]) for o in api.get("/v1/operations").json["items"] if o["kind"] == "image.verify")

    eventually(lambda: verifications() == [("failed", "system"), ("succeeded", "system")], 60, what="both operations' ends")
    # It stays known across a restart, and is not read again every hour.
    daemon.restart()
    api = daemon.client()
    assert api.get("/v1/images/bad").json["files"]["content"]["damaged_at"] and metric(api, "drover_images_damaged") == 1
    assert api.put(f"/v1/images/{made['bad']['id']}/content", RAW + b"bad").json["state"] == "ready"
    assert metric(api, "drover_images_damaged") == 0


def test_the_command_labels_and_copies(api, daemon, image, make_vm, name):
    from daemon import BUILD
    env = {**os.environ, "DROVER_TOKEN": daemon.admin_token()}

    def drover(*args):
        done = subprocess.run([BUILD / "drover", "--url", daemon.url, *args], capture_output=True, text=True, env=env,
                              timeout=120)
        assert done.returncode == 0, (args, done)
        return done.stdout

    base, other, ci = image(), image(RAW + b"o"), name("ci")
    assert drover("image", "label", ci, base["name"], "--keep", "2") == f"{ci} -> {base['name']}\n"
    assert ci in drover("image", "labels")
    vm = make_vm(image=ci)
    assert drover("vm", "rebase", vm["name"], other["name"]).startswith("vm.rebase succeeded")
    assert drover("vm", "flatten", vm["name"]).startswith("vm.flatten succeeded")
    assert drover("image", "verify", other["name"]).startswith("image.verify succeeded")
    drover("image", "unlabel", ci)
    drover("image", "delete", base["name"], "--retire")
