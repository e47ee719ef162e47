"""kill -9 right after an answer: what was done is in the audit log, whatever became of the second that it gathers."""
import itertools

from daemon import Daemon, eventually
from invariants import copied_database

NUMBERS = itertools.count(1)


def asked(answers, answer):
    assert answer.status < 300, answer
    answers.append(answer)
    return answer.json if answer.body else None


def of_vms(api, ask, name):
    vm = ask(api.post("/v1/vms", {"name": name, "memory_mib": 16}))["id"]
    ask(api.patch(f"/v1/vms/{vm}", {"description": "new"}))
    ask(api.post(f"/v1/vms/{vm}/start"))
    ask(api.delete(f"/v1/vms/{vm}", force=True))


def of_leases(api, ask, name):
    ask(api.put(f"/v1/pools/{name}", {"vm": {"memory_mib": 16}, "ready": 0}))
    lease = ask(api.post("/v1/leases", {"vm": {"name": name, "memory_mib": 16}, "ttl_seconds": 60}))["id"]
    ask(api.patch(f"/v1/leases/{lease}", {"ttl_seconds": 120}))
    ask(api.delete(f"/v1/leases/{lease}"))
    ask(api.delete(f"/v1/pools/{name}"))


def of_sets(api, ask, name):
    made = ask(api.post("/v1/sets", {"name": name, "count": 1, "machines": [{"name": "pc", "memory_mib": 16}]}))
    ask(api.delete(f"/v1/sets/{made['id']}"))


def of_images(api, ask, name):
    image = ask(api.post("/v1/images", {"name": name, "kind": "disk", "format": "raw"}))["id"]
    ask(api.put(f"/v1/images/{image}/content", bytes(1 << 16)))
    ask(api.put(f"/v1/image-labels/{name}-l", {"image": image}))
    ask(api.patch(f"/v1/images/{image}", {"description": "new"}))
    ask(api.delete(f"/v1/image-labels/{name}-l"))
    ask(api.delete(f"/v1/images/{image}"))


def of_credentials(api, ask, name):
    token = ask(api.post("/v1/tokens", {"name": name, "role": "viewer"}))
    ask(api.post("/v1/session", {"token": token["token"]}))
    ask(api.patch(f"/v1/tokens/{token['id']}", {"quota": {"vms": 1}}))
    ask(api.delete(f"/v1/tokens/{token['id']}"))
    project = ask(api.post("/v1/projects", {"name": name}))["id"]
    ask(api.patch(f"/v1/projects/{project}", {"quota": {"vms": 1}}))
    ask(api.delete(f"/v1/projects/{project}"))
    hook = ask(api.post("/v1/webhooks", {"url": "https://192.0.2.1/x", "enabled": False}))["id"]
    ask(api.patch(f"/v1/webhooks/{hook}", {"labels": {}}))
    ask(api.delete(f"/v1/webhooks/{hook}"))


def test_what_was_done_is_told_after_a_kill():
    with Daemon(settings={"webhook_private": "true"}) as daemon:
        for work in (of_vms, of_leases, of_sets, of_images, of_credentials):
            api, answers = daemon.client(), []
            work(api, lambda answer: asked(answers, answer), f"n{next(NUMBERS)}")  # pylint: disable=cell-var-from-loop
            daemon.kill9()
            with copied_database(daemon.state_dir) as db:
                told = dict(db.execute("SELECT request_id, status FROM audit"))
            for answer in answers:
                # 102: that it was done was stored with it, how it was answered was not.
                assert told.get(answer.header("X-Request-Id")) in (102, answer.status), answer
            daemon.start()
        assert any(e["status"] == 102 for e in daemon.client().get("/v1/audit", limit=1000).json["items"])


def test_a_request_that_still_waits_is_told():
    with Daemon() as daemon:
        api = daemon.client()
        assert api.put("/v1/pools/small", {"vm": {"memory_mib": 16}, "ready": 1, "max": 1}).status == 201
        assert api.post("/v1/leases", {"pool": "small", "ttl_seconds": 600, "queue_seconds": 60}, wait="claimed", timeout=60).status == 201
        connection = api.connection()
        connection.request("POST", "/v1/leases?wait=claimed&timeout=60", body=b'{"pool": "small", "ttl_seconds": 600, "queue_seconds": 60}',
                           headers=api.all_headers({"Content-Type": "application/json", "X-Request-Id": "goes-away"}))

        def waiting():
            return [e["status"] for e in api.get("/v1/audit", limit=1000).json["items"] if e["request_id"] == "goes-away"]
        assert eventually(waiting, 30, "the entry") == [102]
        connection.close()
