"""Share links: made, listed, looked up, revoked; what is wrong with a request is said."""
import pytest
from daemon import eventually
from websocket import Refused

HOUR = {"single_use": False, "expires_in_seconds": 3600}


@pytest.fixture
def share(api, make_vm):
    vm = make_vm()

    def make(client=None, **more):
        answer = (client or api).post("/v1/tickets", {"vm": vm["name"], "stream": "console", "mode": "view", **more})
        assert answer.status == 201, answer
        return answer.json

    make.vm = vm
    return make


def listed(api, **query):
    answer = api.get("/v1/tickets", **query)
    assert answer.status == 200 and answer.json["next_cursor"] is None
    return {t["id"]: t for t in answer.json["items"]}


def lookup(daemon, secret):
    return daemon.client(token=None).post("/v1/tickets/lookup", {"ticket": secret})


def open_with(daemon, share, secret, **headers):
    with pytest.raises(Refused) as refused:
        daemon.websocket(f"/v1/vms/{share.vm['id']}/console?mode=view&ticket={secret}", token=None, headers=headers)
    return refused.value.status


def test_a_link_is_made_listed_and_revoked(daemon, api, share):
    made = share(name="review", **HOUR)
    assert made["link"] == f"{daemon.url}/#share={made['ticket']}"
    assert made["url"].endswith(f"/v1/vms/{share.vm['id']}/console?mode=view&ticket={made['ticket']}")
    assert made["name"] == "review" and made["vm"] == {"id": share.vm["id"], "name": share.vm["name"]}
    found = listed(api, vm=share.vm["name"])
    assert found == {made["id"]: {k: v for k, v in made.items() if k not in ("ticket", "url", "link")}}
    assert made["ticket"] not in api.get("/v1/tickets").text
    assert api.delete(f"/v1/tickets/{made['id']}").status == 204
    assert listed(api, vm=share.vm["name"]) == {}
    assert api.delete(f"/v1/tickets/{made['id']}").code == "ticket-not-found"
    kinds = [e["type"] for e in api.get("/v1/events", limit=1000).json["items"] if e["subject"]["id"] == made["id"]]
    assert kinds == ["ticket.created", "ticket.revoked"]


def test_links_are_listed_by_age(api, share):
    made = [share(**HOUR) for _ in range(8)]
    assert list(listed(api, vm=share.vm["name"])) == [
        t["id"] for t in sorted(made, key=lambda t: (t["created_at"], t["id"]))]
    assert len({t["created_at"] for t in made}) > 1, "or this says nothing"


def test_the_secret_is_no_id(api, share):
    made = share(**HOUR)
    assert api.delete(f"/v1/tickets/{made['ticket']}").code == "ticket-not-found"
    assert made["id"] in listed(api)


def test_a_page_asks_what_a_link_opens_without_using_it(daemon, share):
    made = share(expires_in_seconds=3600)
    for _ in range(2):
        found = lookup(daemon, made["ticket"])
        assert found.status == 200
        assert found.json == {k: made[k] for k in ("vm", "stream", "mode", "single_use", "expires_at")}
    assert open_with(daemon, share, made["ticket"]) == 409  # taken; the VM has no console here
    assert lookup(daemon, made["ticket"]).code == "ticket-expired"


def test_a_bad_ticket_gets_one_answer_whatever_is_wrong_with_it(daemon, api, share):
    used, revoked, short = share(expires_in_seconds=60), share(**HOUR), share(single_use=False, expires_in_seconds=1)
    assert open_with(daemon, share, used["ticket"]) == 409
    api.delete(f"/v1/tickets/{revoked['id']}")
    eventually(lambda: short["id"] not in listed(api), 20, "the short one expired")
    answers = {lookup(daemon, t).json["detail"] for t in
               (used["ticket"], revoked["ticket"], short["ticket"], "x" * 32, "short")}
    assert len(answers) == 1
    other = api.post("/v1/vms", {"name": "other-of-tickets"}).json
    good = share(**HOUR)["ticket"]
    details = set()
    for vm, secret in ((share.vm["id"], used["ticket"]), (other["id"], good), ("nobody", good), (share.vm["id"], "y")):
        with pytest.raises(Refused) as refused:
            daemon.websocket(f"/v1/vms/{vm}/console?mode=view&ticket={secret}", token=None)
        assert refused.value.status == 410
        problem = refused.value.body.decode()
        details.add(problem[problem.index("detail"):problem.index("instance")])
    assert len(details) == 1
    assert open_with(daemon, share, good) == 409  # it was not used up by all that


def test_guessing_is_counted(fresh_daemon):
    daemon = fresh_daemon(settings={"auth_failures_per_minute": 5})
    codes = [lookup(daemon, "x" * 32).code for _ in range(7)]
    assert codes[:5] == ["ticket-expired"] * 5 and codes[-1] == "too-many-requests"


def test_links_survive_a_restart_but_not_their_token(fresh_daemon):
    daemon = fresh_daemon()
    api = daemon.client()
    vm = api.post("/v1/vms", {"name": "a"}).json
    token = api.post("/v1/tokens", {"name": "t", "role": "operator"}).json
    ask = {"vm": "a", "stream": "console", **HOUR}
    made = daemon.client(token=token["token"]).post("/v1/tickets", ask).json
    short = api.post("/v1/tickets", {"vm": "a", "stream": "console"}).json
    daemon.kill9()
    daemon.start()
    api = daemon.client()
    assert set(listed(api)) == {made["id"]}
    assert lookup(daemon, made["ticket"]).json["vm"]["id"] == vm["id"]
    assert lookup(daemon, short["ticket"]).code == "ticket-expired"
    assert (daemon.state_dir / "drover.db").exists()
    for file in daemon.state_dir.glob("drover.db*"):
        assert made["ticket"].encode() not in file.read_bytes()
    api.delete(f"/v1/tokens/{token['id']}")
    assert listed(api) == {}
    assert lookup(daemon, made["ticket"]).code == "ticket-expired"


def test_a_link_goes_with_its_vm(daemon, api, share):
    made = share(**HOUR)
    api.delete(f"/v1/vms/{share.vm['id']}", wait=30)
    assert made["id"] not in listed(api)
    assert lookup(daemon, made["ticket"]).code == "ticket-expired"


def test_whose_tickets_one_may_revoke(daemon, api, token, share):
    viewer, operator = daemon.client(token("viewer")), daemon.client(token("operator"))
    made, own = share(**HOUR), share(viewer, **HOUR)
    refused = viewer.delete(f"/v1/tickets/{made['id']}")
    assert refused.code == "forbidden" and "console:control" in refused.json["detail"]
    assert viewer.delete(f"/v1/tickets/{own['id']}").status == 204
    assert operator.delete(f"/v1/tickets/{made['id']}").status == 204
    assert daemon.client(token("operator", scopes=["vm:read"])).get("/v1/tickets").code == "forbidden"


@pytest.mark.parametrize("more, pointer", [
    ({"expires_in_seconds": 0}, "/expires_in_seconds"),
    ({"expires_in_seconds": 604801}, "/expires_in_seconds"),
    ({"expires_in_seconds": "1h"}, "/expires_in_seconds"),
    ({"single_use": "no"}, "/single_use"),
    ({"name": ""}, "/name"),
    ({"name": "x" * 64}, "/name"),
    ({"name": "bell\a"}, "/name"),
    ({"color": "red"}, "/color"),
    ({"stream": "vsock"}, "/stream"),
])
def test_what_cannot_be_is_refused_with_its_place(api, make_vm, more, pointer):
    vm = make_vm()
    answer = api.post("/v1/tickets", {"vm": vm["name"], "stream": "console", **more})
    assert answer.code == "validation-failed" and answer.json["pointer"] == pointer, answer
    assert listed(api, vm=vm["name"]) == {}


@pytest.mark.parametrize("body", [{}, {"ticket": ""}, {"ticket": 7}, {"ticket": "x" * 129}, {"ticket": "x", "more": 1}])
def test_a_lookup_takes_only_a_ticket(daemon, body):
    assert daemon.client(token=None).post("/v1/tickets/lookup", body).code == "validation-failed"


def test_lists_of_no_vm(api):
    assert api.get("/v1/tickets", vm="nobody").json["pointer"] == "vm"


def test_a_ticket_beside_a_session_cookie_counts_alone(daemon, api, share):
    code = api.post("/v1/session/codes").json["code"]
    signed_in = daemon.client(token=None).post("/v1/session", {"code": code})
    cookie = signed_in.header("Set-Cookie").split(";")[0]
    made = share(**HOUR)
    assert open_with(daemon, share, made["ticket"], Cookie=cookie, Origin=daemon.url) == 409
    assert open_with(daemon, share, "x" * 32, Cookie=cookie, Origin=daemon.url) == 410


def test_revoking_a_token_ends_its_event_streams(daemon, api):
    token = api.post("/v1/tokens", {"name": "t", "role": "viewer"}).json
    with daemon.websocket("/v1/events", token=token["token"]) as ends, daemon.websocket("/v1/events") as stays:
        assert api.delete(f"/v1/tokens/{token['id']}").status == 204
        while ends.receive():
            pass
        assert ends.close_code == 1008
        assert b"token.revoked" in stays.expect(b"token.revoked")
