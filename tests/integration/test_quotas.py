"""Quotas: what is asked for beyond them is refused with the arithmetic, in any race and after any crash."""
import threading

import pytest
from daemon import eventually

SMALL = {"memory_mib": 64, "networks": []}
NONE = {"vms": None, "cpus": None, "memory_mib": None, "disk_bytes": None, "leases": None, "consoles": None}
GIB = 1 << 30


@pytest.fixture
def limited(fresh_daemon):
    """A daemon of its own: its project has limits."""
    return fresh_daemon()


@pytest.fixture
def client(limited):
    return limited.client()


def limit(client, **quota):
    response = client.patch("/v1/projects/default", {"quota": quota})
    assert response.status == 200, response
    return response.json


def usage(client):
    return client.get("/v1/projects/default").json["usage"]


def make(client, name, **kw):
    return client.post("/v1/vms", {"name": name, **SMALL, **kw})


def made(response):
    assert response.status == 201, response
    return response.json


def refused(response, **members):
    assert response.status == 429 and response.code == "quota-exceeded", response
    assert int(response.header("Retry-After")) >= 1 and response.json["retry"] is True
    for name, value in members.items():
        assert response.json[name] == value, response.json
    assert str(members["limit"]) in response.json["detail"] and response.json["remedy"]


def token_client(daemon, role="operator", **kw):
    response = daemon.client().post("/v1/tokens", {"name": "limited", "role": role, **kw})
    assert response.status == 201, response
    return response.json["id"], daemon.client(token=response.json["token"])


def delete(client, vm):
    response = client.delete(f"/v1/vms/{vm}", force=True, wait=30)
    assert response.status == 200 and response.json["state"] == "succeeded", response


# ---- a project's limits ----


def test_a_fresh_project_has_no_limits_and_counts(client):
    project = client.get("/v1/projects/default").json
    assert project["quota"] == NONE and set(project["usage"].values()) == {0}
    made(make(client, "a", cpus=2, memory_mib=128, disks=[{"size_gib": 2}, {"size_gib": 1}]))
    assert usage(client) == {"vms": 1, "cpus": 2, "memory_mib": 128, "disk_bytes": 3 * GIB, "leases": 0,
                             "consoles": 0}
    both = client.get("/v1/quotas").json
    assert both["project"]["usage"] == usage(client)
    assert both["token"]["usage"]["vms"] == 1 and both["token"]["quota"] == NONE


@pytest.mark.parametrize("resource, limits, spec, members", [
    ("vms", {"vms": 1}, {}, {"limit": 1, "used": 1, "requested": 1}),
    ("cpus", {"cpus": 3}, {"cpus": 3}, {"limit": 3, "used": 1, "requested": 3}),
    ("memory_mib", {"memory_mib": 100}, {"memory_mib": 64}, {"limit": 100, "used": 64, "requested": 64}),
    ("disk_bytes", {"disk_bytes": GIB - 1}, {"disks": [{"size_gib": 1}]},
     {"limit": GIB - 1, "used": 0, "requested": GIB}),
])
def test_each_resource_of_a_vm_is_limited(client, resource, limits, spec, members):
    made(make(client, "first"))
    limit(client, **limits)
    refused(make(client, "second", **spec), resource=resource, scope="project", **members)
    assert [v["name"] for v in client.get("/v1/vms").json["items"]] == ["first"]


def test_a_patch_that_grows_a_vm_is_limited_and_one_that_shrinks_it_is_not(client):
    vm = made(make(client, "grows", cpus=2))["id"]
    limit(client, cpus=1, memory_mib=64)
    refused(client.patch(f"/v1/vms/{vm}", {"cpus": 4}), resource="cpus", limit=1, used=2, requested=2)
    refused(client.patch(f"/v1/vms/{vm}", {"memory_mib": 65}), resource="memory_mib", limit=64, used=64, requested=1)
    assert client.get(f"/v1/vms/{vm}").json["cpus"] == 2
    assert client.patch(f"/v1/vms/{vm}", {"cpus": 1}).status == 200
    assert client.patch(f"/v1/vms/{vm}", {"description": "as large as before"}).status == 200
    refused(client.patch(f"/v1/vms/{vm}", {"cpus": 2}), resource="cpus", limit=1, used=1, requested=1)
    assert usage(client)["cpus"] == 1


def test_what_is_gone_is_free_again(client):
    limit(client, vms=1)
    vm = made(make(client, "one"))["id"]
    refused(make(client, "two"), resource="vms", limit=1)
    delete(client, vm)
    made(make(client, "two"))


def test_limits_survive_a_restart_and_are_taken_away_by_null(limited, client):
    limit(client, vms=1, cpus=7)
    made(make(client, "one", cpus=3))
    limited.restart()
    client = limited.client()
    project = client.get("/v1/projects/default").json
    assert project["quota"] == {**NONE, "vms": 1, "cpus": 7}
    assert project["usage"]["vms"] == 1 and project["usage"]["cpus"] == 3
    refused(make(client, "two"), resource="vms", limit=1)
    assert limit(client, vms=None)["quota"] == {**NONE, "cpus": 7}
    made(make(client, "two"))
    event = client.get("/v1/events", limit=1000).json["items"]
    assert [e["data"]["quota"] for e in event if e["type"] == "project.changed"] == ["vms=1 cpus=7", "cpus=7"]


def test_bad_limits_are_refused_and_change_nothing(client):
    for body, pointer in (({"quota": 7}, "/quota"), ({"quota": {"vms": -1}}, "/quota/vms"),
                          ({"quota": {"vms": "ten"}}, "/quota/vms"), ({"quota": {"vms": 1.5}}, "/quota/vms"),
                          ({"quota": {"vms": 1 << 53}}, "/quota/vms"), ({"quota": {"disks": 1}}, "/quota/disks"),
                          ({"quota": {"vms": 1}, "surprise": 1}, "/surprise")):
        response = client.patch("/v1/projects/default", body)
        assert response.status == 422 and response.json["pointer"] == pointer, (body, response)
    assert client.get("/v1/projects/default").json["quota"] == NONE
    assert client.get("/v1/projects/lab").code == "project-not-found"
    assert client.patch("/v1/projects/lab", {"quota": {}}).code == "project-not-found"


def test_only_an_administrator_changes_a_projects_limits(limited, client):
    _, operator = token_client(limited)
    assert operator.get("/v1/projects/default").status == 200
    assert operator.patch("/v1/projects/default", {"quota": {"vms": 1}}).code == "forbidden"
    _, narrow = token_client(limited, scopes=["lease:write"])
    assert narrow.get("/v1/quotas").status == 200, "everybody may know his own limits"


# ---- a token's limits ----


def test_a_token_has_limits_of_its_own(limited, client):
    token, ci = token_client(limited, quota={"vms": 1, "memory_mib": 100})
    vm = made(make(ci, "mine"))["id"]
    refused(make(ci, "mine-too"), resource="vms", scope="token", limit=1, used=1, requested=1)
    made(make(client, "of-another"))
    shown = client.get(f"/v1/tokens/{token}").json
    assert shown["quota"] == {**NONE, "vms": 1, "memory_mib": 100}
    assert shown["usage"]["vms"] == 1 and shown["usage"]["memory_mib"] == 64
    own = ci.get("/v1/quotas").json
    assert own["token"]["usage"]["vms"] == 1 and own["project"]["usage"]["vms"] == 2
    refused(ci.patch(f"/v1/vms/{vm}", {"memory_mib": 128}), resource="memory_mib", scope="token", limit=100)
    changed = client.patch(f"/v1/tokens/{token}", {"quota": {"vms": 2}})
    assert changed.status == 200 and changed.json["quota"] == {**NONE, "vms": 2, "memory_mib": 100}
    refused(make(ci, "mine-too"), resource="memory_mib", scope="token", limit=100, used=64, requested=64)
    assert client.patch(f"/v1/tokens/{token}", {"quota": {"memory_mib": None}}).status == 200
    made(make(ci, "mine-too"))


def test_what_a_revoked_token_made_still_counts_for_the_project(limited, client):
    token, ci = token_client(limited)
    made(make(ci, "left-behind"))
    assert client.delete(f"/v1/tokens/{token}").status == 204
    limit(client, vms=1)
    refused(make(client, "another"), resource="vms", scope="project", limit=1, used=1, requested=1)
    limited.restart()
    assert usage(limited.client())["vms"] == 1


def test_nobody_gives_more_than_he_has(limited, client):
    _, boss = token_client(limited, role="admin", quota={"vms": 3})
    response = boss.post("/v1/tokens", {"name": "more", "role": "viewer", "quota": {"vms": 4}})
    assert response.code == "forbidden" and "vms=3" in response.json["detail"]
    inherited = boss.post("/v1/tokens", {"name": "same", "role": "viewer"}).json
    assert inherited["quota"] == {**NONE, "vms": 3}
    less = boss.post("/v1/tokens", {"name": "less", "role": "viewer", "quota": {"vms": 2, "cpus": 1}}).json
    assert less["quota"] == {**NONE, "vms": 2, "cpus": 1}
    own = boss.get("/v1/quotas").json["token"]["id"]
    for target in (own, less["id"]):
        assert boss.patch(f"/v1/tokens/{target}", {"quota": {"vms": None}}).code == "forbidden"
    assert client.get(f"/v1/tokens/{less['id']}").json["quota"]["vms"] == 2
    assert client.patch("/v1/tokens/AAAAAAAAAAAA", {"quota": {}}).code == "token-not-found"
    assert client.get("/v1/tokens/AAAAAAAAAAAA").code == "token-not-found"
    bad = client.post("/v1/tokens", {"name": "bad", "role": "viewer", "quota": {"vmz": 1}})
    assert bad.status == 422 and bad.json["pointer"] == "/quota/vmz"


def test_a_browser_session_counts_for_its_token(limited):
    _, ci = token_client(limited, quota={"vms": 0})
    code = ci.post("/v1/session/codes").json["code"]
    session = limited.client(token=None).post("/v1/session", {"code": code})
    cookie = session.header("Set-Cookie").split(";")[0]
    browser = limited.client(token=None, headers={"Cookie": cookie, "Origin": limited.url})
    refused(make(browser, "no"), resource="vms", scope="token", limit=0, used=0, requested=1)


# ---- leases and pools ----


def lease(client, **kw):
    return client.post("/v1/leases", {"vm": {**SMALL, "name": kw.pop("vm")}, **kw})


def test_leases_are_limited(client):
    limit(client, leases=1)
    first = made(lease(client, vm="a"))
    refused(lease(client, vm="b"), resource="leases", scope="project", limit=1, used=1, requested=1)
    assert [v["name"] for v in client.get("/v1/vms").json["items"]] == ["a"], "no VM without its lease"
    assert client.delete(f"/v1/leases/{first['id']}").status == 200
    made(lease(client, vm="b"))


def put_pool(client, name, **kw):
    response = client.put(f"/v1/pools/{name}", {"vm": SMALL, **kw})
    assert response.status in (200, 201), response
    return response.json


def status(client, pool):
    return client.get(f"/v1/pools/{pool}").json["status"]


def test_a_pool_fills_as_far_as_its_owners_quota_goes(limited, client):
    token, owner = token_client(limited, quota={"vms": 2})
    put_pool(owner, "warm", ready=4, max=6)
    eventually(lambda: status(client, "warm")["ready"] == 2)
    eventually(lambda: "vms=2" in (status(client, "warm")["last_error"] or ""))
    assert client.get(f"/v1/tokens/{token}").json["usage"]["vms"] == 2
    failing = [e for e in client.get("/v1/events", limit=1000).json["items"] if e["type"] == "pool.failing"]
    assert len(failing) == 1, "said once"
    assert client.patch(f"/v1/tokens/{token}", {"quota": {"vms": None}}).status == 200
    eventually(lambda: status(client, "warm")["ready"] == 4, 60)
    assert status(client, "warm")["last_error"] is None


def test_a_claimed_vm_counts_for_who_claimed_it(limited, client):
    owner_id, owner = token_client(limited, quota={"vms": 1})
    user_id, user = token_client(limited, quota={"vms": 1, "leases": 5})
    put_pool(owner, "warm", ready=1, max=4)
    eventually(lambda: status(client, "warm")["ready"] == 1)
    mine = made(user.post("/v1/leases", {"pool": "warm"}))
    assert mine["warm"] and client.get(f"/v1/tokens/{user_id}").json["usage"]["vms"] == 1
    eventually(lambda: status(client, "warm")["ready"] == 1, what="the owner's place is free again")
    refused(user.post("/v1/leases", {"pool": "warm"}), resource="vms", scope="token", limit=1, used=1, requested=1)
    assert status(client, "warm")["ready"] == 1, "the VM that was not given is not spent"
    assert client.get(f"/v1/tokens/{owner_id}").json["usage"]["vms"] == 1
    assert user.delete(f"/v1/leases/{mine['id']}").status == 200
    eventually(lambda: client.get(f"/v1/tokens/{user_id}").json["usage"]["vms"] == 0)
    made(user.post("/v1/leases", {"pool": "warm"}))


def test_who_waits_for_his_own_quota_keeps_nobody_else_waiting(limited, client):
    user_id, user = token_client(limited, quota={"vms": 1})
    put_pool(client, "warm", ready=1, max=1)
    eventually(lambda: status(client, "warm")["ready"] == 1)
    taken = made(client.post("/v1/leases", {"pool": "warm"}))
    made(make(user, "his-only-one"))
    waiting = made(user.post("/v1/leases", {"pool": "warm", "queue_seconds": 300}))
    assert waiting["state"] == "queued"
    put_pool(client, "warm", ready=1, max=3)
    eventually(lambda: status(client, "warm")["ready"] == 1)
    eventually(lambda: client.post("/v1/leases", {"pool": "warm"}).status == 201)
    assert client.get(f"/v1/leases/{waiting['id']}").json["state"] == "queued"
    assert client.patch(f"/v1/tokens/{user_id}", {"quota": {"vms": 2}}).status == 200
    eventually(lambda: client.get(f"/v1/leases/{waiting['id']}").json["state"] == "active")
    assert taken["state"] == "active"


# ---- races and crashes ----


def race(daemon, count, prefix):
    """Answers to so many creates at once; None where the daemon was gone."""
    answers, start = [None] * count, threading.Barrier(count)

    def one(i):
        client = daemon.client()
        start.wait()
        try:
            answers[i] = make(client, f"{prefix}-{i}")
        except OSError:
            pass

    threads = [threading.Thread(target=one, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    return threads, answers


def test_64_clients_race_for_10_places(limited, client):
    limit(client, vms=10)
    threads, answers = race(limited, 64, "race")
    for thread in threads:
        thread.join()
    assert sorted(a.status for a in answers) == [201] * 10 + [429] * 54
    for answer in answers:
        if answer.status == 429:
            refused(answer, resource="vms", limit=10, requested=1)
    assert usage(client)["vms"] == 10 == len(client.get("/v1/vms").json["items"])


def test_kill_9_in_the_middle_leaks_no_quota(fresh_daemon):
    daemon = fresh_daemon()
    limit(daemon.client(), vms=10)
    for round_ in range(3):
        threads, answers = race(daemon, 32, f"round-{round_}")
        eventually(lambda a=answers: any(a), every=0)
        daemon.kill9()
        for thread in threads:
            thread.join()
        daemon.start()
        client = daemon.client()
        names = {v["name"] for v in client.get("/v1/vms", limit=100).json["items"]}
        assert usage(client)["vms"] == len(names) <= 10
        assert {a.json["name"] for a in answers if a and a.status == 201} <= names, "an answer is a promise"
        for i in range(10 - len(names)):
            made(make(client, f"fill-{round_}-{i}"))
        refused(make(client, "one-more"), resource="vms", limit=10, used=10, requested=1)
        for vm in client.get("/v1/vms", limit=100).json["items"]:
            delete(client, vm["id"])
        assert usage(client)["vms"] == 0


def test_metrics_have_usage_and_limits(client):
    limit(client, vms=5)
    made(make(client, "one"))
    text = client.get("/metrics").text
    assert 'drover_quota_used{project="default",resource="vms"} 1\n' in text
    assert 'drover_quota_limit{project="default",resource="vms"} 5\n' in text
    assert 'drover_quota_limit{project="default",resource="cpus"}' not in text


# ---- sets ----


def test_a_set_fits_as_a_whole_or_not_at_all(limited, client):
    token, teacher = token_client(limited, quota={"vms": 5, "memory_mib": 64 * 4})
    spec = {"machines": [{"name": "pc", **SMALL}, {"name": "server", **SMALL}]}
    refused(teacher.post("/v1/sets", {"name": "class", "count": 3, **spec}), resource="vms", scope="token", limit=5,
            used=0, requested=6)
    assert client.get("/v1/vms").json["items"] == [] and client.get("/v1/sets").json["items"] == []
    whole = made(teacher.post("/v1/sets", {"name": "class", "count": 2, **spec}))
    assert client.get(f"/v1/tokens/{token}").json["usage"]["vms"] == 4, "each counts from the first moment"
    assert client.get(f"/v1/operations/{whole['operation']['id']}", wait=60, patience=90).json["state"] == "succeeded"
    refused(make(teacher, "one-more"), resource="memory_mib", scope="token", limit=256, used=256, requested=64)
    # One that is missing is made again for whoever made the set.
    vm = client.get("/v1/vms").json["items"][0]
    delete(client, vm["id"])
    assert client.get(f"/v1/tokens/{token}").json["usage"]["vms"] == 3
    reset = client.post("/v1/sets/class/members/1/reset")
    assert reset.status == 202, reset
    assert client.get(f"/v1/operations/{reset.json['id']}", wait=60, patience=90).json["state"] == "succeeded"
    assert client.get(f"/v1/tokens/{token}").json["usage"]["vms"] == 4
    limited.restart()
    assert limited.client().get(f"/v1/tokens/{token}").json["usage"]["vms"] == 4
