"""Sets on libvirt's test driver: many machines as one, in waves, and nothing left behind."""
import random
import threading
import time

import pytest
from daemon import eventually

PC = {"name": "pc", "memory_mib": 64, "networks": []}


def vms(api, **query):
    return api.get("/v1/vms", limit=1000, **query).json["items"]


def show(api, one):
    return api.get(f"/v1/sets/{one}").json


def flat(shown):
    return [vm for member in shown["members"] for vm in member["vms"]]


def finished(api, op, patience=60):
    eventually(lambda: api.get(f"/v1/operations/{op['id']}").json["finished_at"], patience)
    return api.get(f"/v1/operations/{op['id']}").json


def gone(api, one):
    return api.get(f"/v1/sets/{one}").status == 404 and not vms(api, set=one)


@pytest.fixture
def make_set(api, name):
    """make_set(count=2) is a set of one machine each; it and its VMs are gone afterwards."""
    made = []

    def make(settled=True, **definition):
        body = {"name": name("set"), "count": 2, "machines": [PC], **definition}
        response = api.post("/v1/sets", body)
        assert response.status == 201, response
        made.append(body["name"])
        if settled:
            assert finished(api, response.json["operation"])["state"] == "succeeded"
            return show(api, body["name"])
        return response.json

    yield make
    for one in made:
        api.delete(f"/v1/sets/{one}")
    eventually(lambda: all(gone(api, one) for one in made), 60)


# ---- making ----


def test_a_set_has_its_defaults_and_starts(api, make_set):
    one = make_set(count=3, labels={"course": "a"})
    assert one["state"] == "running" and one["progress"] is None and one["vms"]["running"] == 3
    assert one["name_pattern"] == "{set}-{n:02}" and one["ready_when"] == "running" and one["wave"] is None
    assert [vm["name"] for vm in flat(one)] == [f"{one['name']}-0{n}" for n in (1, 2, 3)]
    mine = vms(api, set=one["name"])
    assert [vm["set"] for vm in mine] == [{"id": one["id"], "name": one["name"], "member": n, "machine": "pc"} for n in (1, 2, 3)]
    assert all(vm["labels"] == {"course": "a"} for vm in mine)
    assert mine == vms(api, set=one["id"]) and one["id"] in [s["id"] for s in api.get("/v1/sets", limit=1000).json["items"]]


def test_names_cards_and_addresses_follow_the_plan(api, make_set):
    machines = [{"name": "web", "memory_mib": 64, "labels": {"role": "front"}}, {"name": "db", "memory_mib": 96}]
    one = make_set(count=2, machines=machines, start=False, name_pattern="s{n:03}-{machine}-{set}", labels={"role": "any"},
                   addresses={"subnet": "10.40.{n}.0/24", "gateway_host": 1, "nameservers": ["9.9.9.9"]})
    assert one["state"] == "stopped" and [vm["name"] for vm in flat(one)] == [
        f"s{n:03}-{m}-{one['name']}" for n in (1, 2) for m in ("web", "db")]
    cards = [api.get(f"/v1/vms/{vm['id']}").json["networks"][0] for vm in flat(one)]
    assert [c["address"] for c in cards] == ["10.40.1.10/24", "10.40.1.11/24", "10.40.2.10/24", "10.40.2.11/24"]
    assert [c["gateway"] for c in cards] == ["10.40.1.1", "10.40.1.1", "10.40.2.1", "10.40.2.1"]
    assert all(c["nameservers"] == ["9.9.9.9"] for c in cards) and len({c["mac"] for c in cards}) == 4
    assert [api.get(f"/v1/vms/{vm['id']}").json["labels"]["role"] for vm in flat(one)] == ["front", "any"] * 2
    macs = [c["mac"] for c in cards]
    again = {k: one[k] for k in ("name", "count", "machines", "start", "name_pattern", "labels", "addresses")}
    assert api.delete(f"/v1/sets/{one['name']}", wait=60).json["state"] == "succeeded"
    plan = api.post("/v1/sets", again, dry_run=True)
    assert plan.status == 200 and [vm["networks"][0]["mac"] for vm in plan.json["vms"]] == macs, "the same set, the same cards"
    assert gone(api, one["name"]), "a dry run makes nothing"


def test_one_network_for_all(api, name):
    plan = api.post("/v1/sets", {"name": name("set"), "count": 3, "machines": [dict(PC, networks=[{"mode": "user"}]), {"name": "b"}],
                                 "addresses": {"subnet": "10.9.0.0/24", "first_host": 100}}, dry_run=True).json
    assert [vm["networks"][0]["address"] for vm in plan["vms"]] == [f"10.9.0.{h}/24" for h in range(100, 106)]


def test_bad_sets_are_refused_and_make_nothing(api, name, make_vm):
    before = len(vms(api))
    taken = make_vm(name=name("x") + "-01", settle=False)
    base = {"name": name("set"), "count": 2, "machines": [PC]}
    for change, pointer in (({"name": "Not.A.Name"}, "/name"), ({"name": None}, "/name"), ({"count": 0}, "/count"),
                            ({"count": 1001}, "/count"), ({"machines": []}, "/machines"), ({"machines": [7]}, "/machines/0"),
                            ({"machines": [{}]}, "/machines/0/name"), ({"machines": [PC, PC]}, "/machines/1/name"),
                            ({"machines": [dict(PC, cpus=0)]}, "/machines/0/cpus"), ({"machines": [dict(PC, start=True)]}, "/machines/0/start"),
                            ({"machines": [dict(PC, networks=[{"mode": "user", "mac": "02:00:00:00:00:01"}])]}, "/machines/0/networks/0/mac"),
                            ({"machines": [dict(PC, networks=[{"mode": "bridge", "source": "br{x}"}])]}, "/machines/0/networks/0/source"),
                            ({"name_pattern": "same"}, "/name_pattern"), ({"name_pattern": "s-{m}"}, "/name_pattern"),
                            ({"name_pattern": "S-{n}"}, "/name_pattern"), ({"name_pattern": "{n:0}"}, "/name_pattern"),
                            ({"name_pattern": "{n}" + "x" * 70}, "/name_pattern"), ({"labels": {"": "x"}}, "/labels/"),
                            ({"wave": 0}, "/wave"), ({"ready_when": "done"}, "/ready_when"), ({"surprise": 1}, "/surprise"),
                            ({"addresses": {"subnet": "10.0.0.1/24"}}, "/addresses/subnet"), ({"addresses": {}}, "/addresses/subnet"),
                            ({"machines": [{"name": "a"}], "addresses": {"subnet": "10.0.{n}.0/24", "first_host": 255}}, "/addresses/first_host"),
                            ({"machines": [{"name": "a"}], "addresses": {"subnet": "10.0.{n}.0/24", "gateway_host": 10}}, "/addresses/gateway_host"),
                            ({"machines": [{"name": "a"}], "addresses": {"subnet": "10.0.0.0/24", "nameservers": ["dns"]}}, "/addresses/nameservers/0"),
                            ({"machines": [{"name": "a"}], "count": 300, "addresses": {"subnet": "10.0.{n}.0/24"}}, "/addresses/subnet"),
                            ({"machines": [dict(PC, name=f"m{i}") for i in range(2)], "count": 900}, "/count")):
        if pointer in ("/addresses/subnet",) and "machines" not in change:
            change = {"machines": [{"name": "a"}], **change}
        response = api.post("/v1/sets", {**base, **change})
        assert response.code == "validation-failed" and response.json["pointer"] == pointer, (change, response)
        assert response.json["detail"]
    unknown = api.post("/v1/sets", {**base, "machines": [dict(PC, image="nope")]})
    assert unknown.code == "unknown-image" and unknown.json["pointer"] == "/machines/0/image"
    clash = api.post("/v1/sets", {**base, "name_pattern": taken["name"][:-2] + "{n:02}"})
    assert clash.status == 409 and clash.code == "name-in-use" and taken["name"] in clash.json["detail"]
    assert api.get(f"/v1/sets/{base['name']}").code == "set-not-found"
    assert len(vms(api)) == before + 1


def test_a_quota_refuses_the_whole_set(fresh_daemon):
    daemon = fresh_daemon()
    api = daemon.client()
    limited = api.post("/v1/tokens", {"name": "class", "role": "operator", "quota": {"vms": 3}}).json
    teacher = daemon.client(limited["token"])
    refused = teacher.post("/v1/sets", {"name": "big", "count": 4, "machines": [PC], "start": False})
    assert refused.status == 429 and refused.code == "quota-exceeded" and refused.json["limit"] == 3, refused
    assert not vms(api) and api.get("/v1/sets/big").code == "set-not-found"
    assert teacher.post("/v1/sets", {"name": "small", "count": 3, "machines": [PC], "start": False}, wait=30).status == 201
    assert len(vms(api, set="small")) == 3


def test_a_name_is_taken_once(api, make_set):
    one = make_set(count=1, start=False)
    again = api.post("/v1/sets", {"name": one["name"], "count": 1, "machines": [PC], "name_pattern": "other-{n}"})
    assert again.status == 409 and again.code == "name-in-use" and again.json["pointer"] == "/name"


def test_the_same_key_is_the_same_set(daemon, api, make_set, name):
    body = {"name": name("set"), "count": 3, "machines": [PC], "start": False}
    answers = []

    def ask():
        answers.append(daemon.client().post("/v1/sets", body, headers={"Idempotency-Key": body["name"]}))

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {a.status for a in answers} == {201} and len({a.json["id"] for a in answers}) == 1
    assert len(vms(api, set=body["name"])) == 3
    op = api.post(f"/v1/sets/{body['name']}/start", headers={"Idempotency-Key": "s-" + body["name"]}).json
    assert api.post(f"/v1/sets/{body['name']}/start", headers={"Idempotency-Key": "s-" + body["name"]}).json["id"] == op["id"]
    # By force: whether they run by now is not said.
    assert api.delete(f"/v1/sets/{body['name']}", force=True, wait=60).status == 200 and gone(api, body["name"])


# ---- what is done with it ----


def test_fifty_students_with_three_machines(api, make_set):
    machines = [dict(PC, name=m) for m in ("web", "db", "client")]
    began = time.monotonic()
    made = make_set(settled=False, count=50, machines=machines, wave=8)
    assert time.monotonic() - began < 30 and len(vms(api, set=made["name"])) == 150, "all of them at once"
    op = made["operation"]
    assert op["kind"] == "set.create" and op["set_id"] == made["id"]
    seen = []

    def look():
        state = api.get(f"/v1/operations/{op['id']}").json
        if state["progress"]:
            seen.append(state["progress"]["done_vms"])
        return state["finished_at"]

    eventually(look, 120)
    assert seen == sorted(seen) and seen[-1] == 150 and len(set(seen)) > 3, "progress only grows"
    one = show(api, made["name"])
    assert one["state"] == "running" and one["vms"]["running"] == 150
    assert api.post(f"/v1/sets/{made['name']}/stop", wait=120, patience=130).json["state"] == "succeeded"
    assert show(api, made["name"])["state"] == "stopped"
    assert api.delete(f"/v1/sets/{made['name']}", wait=120, patience=130).json["state"] == "succeeded"
    assert gone(api, made["name"])


def test_starting_leaves_alone_what_runs(api, make_set):
    one = make_set(count=3, start=False)
    first = flat(one)[0]
    assert api.post(f"/v1/vms/{first['id']}/start", wait=30).status == 200
    began = api.get(f"/v1/vms/{first['id']}").json["started_at"]
    assert show(api, one["name"])["state"] == "mixed"
    done = api.post(f"/v1/sets/{one['name']}/start", wait=30).json
    assert done["state"] == "succeeded" and done["progress"] == {"stage": None, "done_vms": 3, "failed_vms": 0, "total_vms": 3}
    assert api.get(f"/v1/vms/{first['id']}").json["started_at"] == began
    assert len(api.get("/v1/operations", vm=first["id"]).json["items"]) == 2, "its creation and its start"


def test_one_member_is_put_back(daemon, api, make_set):
    machines = [dict(PC, name="a", networks=[{"mode": "user"}], cloud_init=True, disks=[{"size_gib": 1}]), dict(PC, name="b")]
    one = make_set(count=2, machines=machines, addresses={"subnet": "10.40.{n}.0/24"})
    first = flat(one)[0]
    disk = daemon.state_dir / "vms" / first["id"] / "disk-0.qcow2"
    seed = daemon.state_dir / "vms" / first["id"] / "seed.iso"
    inode, others = disk.stat().st_ino, {vm["id"]: api.get(f"/v1/vms/{vm['id']}").json for vm in flat(one)[2:]}
    old = api.get(f"/v1/vms/{first['id']}").json
    assert f'"instance-id":"{first["id"]}"'.encode() in seed.read_bytes()
    with open(disk, "ab") as mark:
        mark.write(b"what the student did")
    began = time.monotonic()
    op = api.post(f"/v1/sets/{one['name']}/members/1/reset", wait=30).json
    assert op["state"] == "succeeded" and op["kind"] == "set.reset" and op["progress"]["total_vms"] == 2
    assert time.monotonic() - began < 25
    new = api.get(f"/v1/vms/{first['id']}").json
    assert disk.stat().st_ino != inode or b"what the student did" not in disk.read_bytes()
    assert f'"instance-id":"{first["id"]}-1"'.encode() in seed.read_bytes() and b'"member":1' in seed.read_bytes()
    assert new["state"] == "running" and new["started_at"] > old["started_at"]
    assert {k: new[k] for k in ("name", "networks", "vsock_cid", "set")} == {k: old[k] for k in ("name", "networks", "vsock_cid", "set")}
    assert others == {i: api.get(f"/v1/vms/{i}").json for i in others}, "nobody else notices"


def test_a_missing_vm_is_made_again(api, make_set):
    one = make_set(count=2)
    lost = flat(one)[1]
    assert api.delete(f"/v1/vms/{lost['id']}", force=True, wait=30).status == 200
    shown = show(api, one["name"])
    assert shown["state"] == "incomplete" and shown["vms"]["missing"] == 1 and flat(shown)[1]["state"] == "missing"
    assert api.post(f"/v1/sets/{one['name']}/members/2/reset", wait=30).json["state"] == "succeeded"
    again = flat(show(api, one["name"]))[1]
    assert again["name"] == lost["name"] and again["networks"] == lost["networks"] and again["id"] != lost["id"]
    assert show(api, one["name"])["state"] == "running"


def test_all_are_put_back_as_they_were(api, make_set):
    one = make_set(count=3)
    ids = [vm["id"] for vm in flat(one)]
    assert api.post(f"/v1/vms/{ids[0]}/stop", wait=30).status == 200
    assert api.post(f"/v1/sets/{one['name']}/reimage", wait=60).json["state"] == "succeeded"
    assert [vm["state"] for vm in flat(show(api, one["name"]))] == ["stopped", "running", "running"]
    assert api.post(f"/v1/sets/{one['name']}/reimage", {"start": True}, wait=60).json["state"] == "succeeded"
    assert show(api, one["name"])["state"] == "running" and [vm["id"] for vm in flat(show(api, one["name"]))] == ids
    for body, code, pointer in (({"images": {"nope": "x"}}, "validation-failed", "/images/nope"),
                                ({"images": {"pc": "nope"}}, "unknown-image", "/images/pc"),
                                ({"images": {"pc": 7}}, "validation-failed", "/images/pc"), ({"now": True}, "validation-failed", "/now")):
        response = api.post(f"/v1/sets/{one['name']}/reimage", body)
        assert response.code == code and response.json["pointer"] == pointer, response


def test_a_guest_that_never_gets_ready_does_not_hold_up_the_rest(api, make_set):
    """The test driver's guests print nothing, so that the console is waited for in vain."""
    began = time.monotonic()
    made = make_set(settled=False, count=3, ready_when="console", boot_seconds=1, wave=1)
    op = finished(api, made["operation"])
    assert op["state"] == "failed" and op["error"]["code"] == "set-incomplete" and "was not ready in 1 s" in op["error"]["detail"]
    assert op["progress"]["failed_vms"] == 3 and 3 <= time.monotonic() - began < 50, "one after the other"
    assert show(api, made["name"])["vms"]["running"] == 3, "they run all the same"


def test_what_comes_later_takes_over(api, make_set):
    made = make_set(settled=False, count=20, ready_when="console", boot_seconds=60, wave=2)
    eventually(lambda: show(api, made["name"])["vms"]["running"] == 2, 30)
    shown = show(api, made["name"])
    assert shown["state"] == "creating" and shown["progress"]["total_vms"] == 20
    time_out = api.post(f"/v1/sets/{made['name']}/members/20/reset", {"start": False}, wait=30)
    assert time_out.json["state"] == "succeeded", "a member does not wait for the others"
    assert api.post(f"/v1/sets/{made['name']}/stop", wait=30).json["state"] == "succeeded"
    first = finished(api, made["operation"])
    assert first["state"] == "cancelled" and "set.stop took over" in first["error"]["detail"]
    assert show(api, made["name"])["vms"]["stopped"] == 20


def test_cancelling_stops_where_it_is(api, make_set):
    made = make_set(settled=False, count=20, ready_when="console", boot_seconds=60, wave=2)
    eventually(lambda: show(api, made["name"])["vms"]["running"] == 2, 30)
    assert api.delete(f"/v1/operations/{made['operation']['id']}").json["state"] == "cancelled"
    shown = show(api, made["name"])
    assert shown["state"] == "mixed" and shown["progress"] is None and shown["vms"]["stopped"] == 18
    op = api.delete(f"/v1/sets/{made['name']}").json
    assert api.post(f"/v1/sets/{made['name']}/start").code in ("set-state-conflict", "set-not-found")
    refused = api.delete(f"/v1/operations/{op['id']}")
    assert refused.code == "operation-state-conflict", "a deletion is a promise"
    eventually(lambda: gone(api, made["name"]), 60)


def test_time_runs_out(api, make_set):
    one = make_set(count=2, ttl_seconds=3600)
    longer = api.patch(f"/v1/sets/{one['name']}", {"ttl_seconds": 7200}).json
    assert longer["expires_at"] > one["expires_at"]
    assert api.patch(f"/v1/sets/{one['name']}", {"ttl_seconds": None}).json["expires_at"] is None
    for body, pointer in (({}, "/ttl_seconds"), ({"ttl_seconds": 0}, "/ttl_seconds"), ({"name": "x"}, "/name")):
        assert api.patch(f"/v1/sets/{one['name']}", body).json["pointer"] == pointer
    api.patch(f"/v1/sets/{one['name']}", {"ttl_seconds": 1})
    eventually(lambda: gone(api, one["name"]), 30)


def test_at_its_end_a_set_may_only_stop(api, make_set):
    one = make_set(count=2, on_expiry="stop")
    api.patch(f"/v1/sets/{one['name']}", {"ttl_seconds": 1})
    eventually(lambda: show(api, one["name"])["state"] == "stopped", 30)
    assert show(api, one["name"])["expires_at"] is None


def test_bad_requests_about_a_set(api, make_set):
    one = make_set(count=2, start=False)
    assert api.post(f"/v1/sets/{one['name']}/members/3/reset").code == "not-found"
    for member in ("0", "x", "-1", "1001"):
        assert api.post(f"/v1/sets/{one['name']}/members/{member}/reset").code == "invalid-argument"
    for method, path in (("get", ""), ("delete", ""), ("post", "/start"), ("post", "/stop"), ("post", "/reimage"),
                         ("post", "/members/1/reset")):
        assert getattr(api, method)(f"/v1/sets/nobodys{path}").code == "set-not-found"
    assert api.patch("/v1/sets/nobodys", {"ttl_seconds": 5}).code == "set-not-found"
    assert api.post("/v1/sets", {"name": "x"}, dry_run="maybe").code == "invalid-argument"


def test_a_viewer_may_look(api, daemon, make_set, token):
    one = make_set(count=1, start=False)
    viewer = daemon.client(token("viewer"))
    assert viewer.get("/v1/sets").status == 200 and viewer.get(f"/v1/sets/{one['name']}").status == 200
    assert viewer.post("/v1/sets", {"name": "mine", "count": 1, "machines": [PC]}).status == 403
    assert viewer.delete(f"/v1/sets/{one['name']}").status == 403
    assert viewer.post(f"/v1/sets/{one['name']}/members/1/reset").status == 403


def test_user_data_is_not_shown(api, make_set):
    one = make_set(count=1, start=False, machines=[dict(PC, user_data="#cloud-config\npassword: hidden-word\n")])
    assert "hidden-word" not in api.get(f"/v1/sets/{one['name']}").text and "hidden-word" not in api.get("/v1/sets").text
    assert api.get(f"/v1/vms/{flat(one)[0]['id']}/user-data").text.endswith("hidden-word\n")


def test_events_tell_the_story(api, make_set):
    since = api.get("/v1/events", limit=1).json["last_seq"]
    one = make_set(count=1)
    assert api.post(f"/v1/sets/{one['name']}/members/1/reset", wait=30).status == 200
    assert api.delete(f"/v1/sets/{one['name']}", wait=30).status == 200
    mine = [e for e in api.get("/v1/events", since=since, limit=1000).json["items"] if e["subject"]["id"] == one["id"]]
    assert [e["type"] for e in mine] == ["set.created", "operation.started", "operation.finished", "set.asked", "operation.started",
                                         "operation.finished", "set.asked", "operation.started", "set.deleted", "operation.finished"]
    assert mine[3]["data"]["verb"] == "reset" and mine[3]["data"]["member"] == 1


def test_lists_have_pages_and_metrics_count(api, daemon, make_set):
    names = [make_set(count=1, start=False)["name"] for _ in range(3)]
    page = api.get("/v1/sets", limit=2).json
    rest = api.get("/v1/sets", limit=2, cursor=page["next_cursor"]).json
    assert [s["name"] for s in page["items"] + rest["items"]][-3:] == names
    text = daemon.client().get("/metrics").text
    assert 'drover_sets{state="stopped"} 3' in text and 'drover_set_vms{state="stopped"} 3' in text


# ---- killed in the middle ----


def killed(daemon, after):
    time.sleep(after)  # where in its work it dies is the dice's business
    daemon.kill9()
    daemon.start()
    return daemon.client()


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment_nothing_is_half_made_or_left(fresh_daemon, seed):
    dice = random.Random(seed)
    daemon = fresh_daemon()
    api = daemon.client()
    body = {"name": "course", "count": 20, "machines": [dict(PC, name="a", disks=[{"size_gib": 1}]), dict(PC, name="b")]}
    asked = threading.Thread(target=lambda: ask(api, body), daemon=True)
    asked.start()
    api = killed(daemon, dice.uniform(0, 0.4))
    asked.join(30)
    answer = api.post("/v1/sets", body, headers={"Idempotency-Key": "k"})
    assert answer.status == 201, answer
    made = answer.json
    assert len(vms(api, set="course")) == 40 and made["vms"]["missing"] == 0, "all or nothing"
    finished(api, made["operation"] or api.get("/v1/operations", limit=1000).json["items"][-1])
    # The simulated host forgot what ran when its process died: asked again, the set is whole.
    assert finished(api, api.post("/v1/sets/course/start").json)["state"] == "succeeded"
    assert show(api, "course")["state"] == "running"

    op = api.post("/v1/sets/course/members/3/reset").json
    api = killed(daemon, dice.uniform(0, 0.3))
    assert finished(api, op)["state"] in ("succeeded", "failed")
    api.post("/v1/sets/course/members/3/reset", wait=30)
    third = [vm for vm in flat(show(api, "course"))[4:6]]
    assert [vm["state"] for vm in third] == ["running"] * 2

    op = api.delete("/v1/sets/course").json
    api = killed(daemon, dice.uniform(0, 0.6))
    assert finished(api, op)["state"] == "succeeded"
    assert gone(api, "course") and not vms(api)
    assert not list((daemon.state_dir / "vms").iterdir()), "nothing is left on the disk"
    assert api.post("/v1/sets", dict(body, start=False)).status == 201, "the name is free"


def ask(api, body):
    try:
        api.post("/v1/sets", body, headers={"Idempotency-Key": "k"})
    except OSError:
        pass  # the daemon died


def test_a_set_s_end_survives_a_restart(fresh_daemon):
    daemon = fresh_daemon()
    api = daemon.client()
    assert api.post("/v1/sets", {"name": "short", "count": 2, "machines": [PC], "start": False, "ttl_seconds": 3600}, wait=30).status == 201
    before = show(api, "short")["expires_at"]
    daemon.restart()
    api = daemon.client()
    assert show(api, "short")["expires_at"] == before
    assert api.patch("/v1/sets/short", {"ttl_seconds": 1}).status == 200
    daemon.kill9()
    daemon.start()
    eventually(lambda: gone(daemon.client(), "short"), 30)
