"""Tokens and scopes, sessions and their cookies, tickets, the Unix socket."""
import os
import re

import pytest
from websocket import Refused

READS = {"vm:read": "/v1/vms", "image:read": "/v1/images", "host:read": "/v1/host", "metrics:read": "/metrics",
         "token:write": "/v1/tokens"}


def test_no_credential_no_answer(daemon):
    nobody = daemon.client(token=None)
    for path in ("/v1", "/v1/vms", "/metrics", "/v1/host", "/v1/tokens", "/v1/session", "/v1/events"):
        response = nobody.get(path)
        assert response.status == 401 and response.code == "unauthenticated", path
        assert response.header("WWW-Authenticate").startswith("Bearer")


def test_bad_credentials_are_not_told_apart(daemon):
    good = daemon.admin_token()
    flipped = good[:-7] + ("a" if good[-7] != "a" else "b") + good[-6:]
    answers = {(r.status, r.json["detail"]) for r in (
        daemon.client(token=t).get("/v1") for t in ("nonsense", flipped, good + "x", "drover_AAAAAAAAAAAA_" + "A" * 38))}
    assert len(answers) == 1 and answers.pop()[0] == 401


def test_a_bad_authorization_is_not_passed_over_for_a_cookie(daemon):
    assert daemon.client(token=None, headers={"Authorization": "Basic YTpi"}).get("/v1").status == 401


def test_the_first_token_is_an_admins_and_private(daemon, api):
    me = api.get("/v1/session").json
    assert me["role"] == "admin" and len(me["scopes"]) == 15
    assert os.stat(daemon.state_dir / "admin.token").st_mode & 0o777 == 0o600


def test_a_token_is_shown_once(daemon, api):
    response = api.post("/v1/tokens", {"name": "ci", "role": "operator", "expires_in_seconds": 3600})
    assert response.status == 201
    made = response.json
    assert re.fullmatch(r"drover_[0-9A-Za-z]{12}_[0-9A-Za-z]{38}", made["token"])
    assert made["id"] == made["token"].split("_")[1]
    assert response.header("Location") == f"/v1/tokens/{made['id']}"
    assert daemon.client(made["token"]).get("/v1/session").json["name"] == "ci"
    listed = api.get("/v1/tokens")
    assert made["token"] not in listed.text
    row = next(t for t in listed.json["items"] if t["id"] == made["id"])
    assert row["created_by"] == api.get("/v1/session").json["id"] and row["expires_at"]
    assert made["token"] not in daemon.log()
    assert api.delete(f"/v1/tokens/{made['id']}").status == 204


def test_a_revoked_token_is_dead_at_once(daemon, api):
    made = api.post("/v1/tokens", {"name": "gone", "role": "viewer"}).json
    client = daemon.client(made["token"])
    assert client.get("/v1/vms").status == 200
    assert api.delete(f"/v1/tokens/{made['id']}").status == 204
    assert client.get("/v1/vms").status == 401
    assert api.delete(f"/v1/tokens/{made['id']}").code == "token-not-found"


@pytest.mark.parametrize("scope", sorted(READS))
def test_a_scope_opens_its_door_and_no_other(daemon, token, scope):
    client = daemon.client(token("admin", scopes=[scope]))
    for other, path in READS.items():
        response = client.get(path)
        if other == scope:
            assert response.status == 200
        else:
            assert response.status == 403 and response.code == "forbidden"
            assert other in response.json["detail"]


def test_every_route_asks_for_its_scope(daemon, token, contract):
    """A token that may do one harmless thing is refused wherever that is not it."""
    client = daemon.client(token("admin", scopes=["metrics:read"]))
    for operation in contract.operations:
        scope = operation.node["x-scope"]
        if scope in ("none", "any", "metrics:read") or "101" in operation.node["responses"]:
            continue
        path = re.sub(r"\{[^}]+\}", "x", operation.path)
        response = client.request(operation.method, path, headers={"Content-Type": "application/json"})
        assert response.status == 403 and response.code == "forbidden", operation.id
        assert scope in response.json["detail"]


def test_roles(daemon, token, make_vm, name):
    vm = make_vm()
    viewer, operator = daemon.client(token("viewer")), daemon.client(token("operator"))
    assert viewer.get("/v1/vms").status == 200
    assert viewer.post(f"/v1/vms/{vm['id']}/start").status == 403
    assert viewer.post("/v1/vms", {"name": name()}).status == 403
    assert operator.post(f"/v1/vms/{vm['id']}/start", wait=30).status == 200
    assert operator.post("/v1/tokens", {"name": "x", "role": "viewer"}).status == 403
    assert operator.patch("/v1/ksm", {"knobs": {}}).status == 403


def test_nobody_gives_more_than_he_has(daemon, token):
    client = daemon.client(token("admin", scopes=["token:write", "vm:read"]))
    assert client.post("/v1/tokens", {"name": "more", "role": "admin"}).code == "forbidden"
    assert client.post("/v1/tokens", {"name": "more", "role": "admin", "scopes": ["vm:write"]}).code == "forbidden"
    response = client.post("/v1/tokens", {"name": "less", "role": "admin", "scopes": ["vm:read"]})
    assert response.status == 201
    assert client.delete(f"/v1/tokens/{response.json['id']}").status == 204


def test_bad_token_requests(api):
    for body, pointer in (({"role": "admin"}, "/name"), ({"name": "a"}, "/role"), ({"name": "a", "role": "king"}, "/role"),
                          ({"name": "a", "role": "admin", "scopes": ["vm:fly"]}, "/scopes/0"),
                          ({"name": "a", "role": "admin", "scopes": ["vm:read", "vm:read"]}, "/scopes/1"),
                          ({"name": "a", "role": "admin", "scopes": "vm:read"}, "/scopes"),
                          ({"name": "a", "role": "admin", "expires_in_seconds": 0}, "/expires_in_seconds")):
        response = api.post("/v1/tokens", body)
        assert response.status == 422 and response.json["pointer"] == pointer, body


def test_failed_guesses_are_told_to_wait(fresh_daemon):
    daemon = fresh_daemon(settings={"auth_failures_per_minute": 5})
    codes = [daemon.client("nonsense").get("/v1").code for _ in range(8)]
    assert codes[:5] == ["unauthenticated"] * 5 and codes[-1] == "too-many-requests"
    assert daemon.socket_client().get("/v1").status == 200


# ---- sessions ----

def sign_in(daemon, api):
    code = api.post("/v1/session/codes").json["code"]
    response = daemon.client(token=None).post("/v1/session", {"code": code}, headers=page(daemon))
    assert response.status == 201, response
    return response


def page(daemon):
    return {"Origin": daemon.url, "Sec-Fetch-Site": "same-origin"}


def cookie_of(response):
    return response.header("Set-Cookie").split(";")[0]


def test_a_sign_in_link_works_once(daemon, api):
    code = api.post("/v1/session/codes")
    assert code.json["url"] == f"{daemon.url}/#code={code.json['code']}"
    nobody = daemon.client(token=None)
    assert nobody.post("/v1/session", {"code": code.json["code"]}).status == 201
    again = nobody.post("/v1/session", {"code": code.json["code"]})
    assert again.status == 401 and again.code == "sign-in-failed"


def test_the_cookie_is_out_of_reach(daemon, api):
    attributes = {a.strip().lower() for a in sign_in(daemon, api).header("Set-Cookie").split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/"} <= attributes


def test_a_session_reads_and_writes_from_its_own_page(daemon, api, make_vm):
    vm = make_vm()
    browser = daemon.client(token=None, headers={"Cookie": cookie_of(sign_in(daemon, api))})
    assert browser.get("/v1/session").json["id"].startswith("session:")
    assert browser.post(f"/v1/vms/{vm['id']}/start", wait=30, headers=page(daemon)).status == 200


def test_a_foreign_page_cannot_use_the_session(daemon, api, make_vm):
    vm = make_vm()
    browser = daemon.client(token=None, headers={"Cookie": cookie_of(sign_in(daemon, api))})
    path = f"/v1/vms/{vm['id']}/start"
    for headers, codes in (({"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}, {"origin-refused"}),
                           ({"Sec-Fetch-Site": "cross-site"}, {"csrf-refused", "origin-refused"}),
                           ({"Origin": "null"}, {"origin-refused"}), ({}, {"csrf-refused"})):
        response = browser.post(path, headers=headers)
        assert response.status == 403 and response.code in codes, (headers, response)
    assert api.get(f"/v1/vms/{vm['id']}").json["state"] == "stopped"


def test_a_form_cannot_use_the_session(daemon, api):
    browser = daemon.client(token=None, headers={"Cookie": cookie_of(sign_in(daemon, api)), **page(daemon)})
    response = browser.request("POST", "/v1/vms", body=b'{"name": "form"}', headers={"Content-Type": "text/plain"})
    assert response.status == 415


def test_signing_out_ends_the_session(daemon, api):
    browser = daemon.client(token=None, headers={"Cookie": cookie_of(sign_in(daemon, api)), **page(daemon)})
    response = browser.delete("/v1/session")
    assert response.status == 204 and "Max-Age=0" in response.header("Set-Cookie")
    assert browser.get("/v1/session").status == 401


def test_a_token_signs_in_too_and_takes_its_sessions_along(daemon, api):
    made = api.post("/v1/tokens", {"name": "browser", "role": "viewer"}).json
    response = daemon.client(token=None).post("/v1/session", {"token": made["token"]})
    assert response.status == 201 and response.json["role"] == "viewer"
    browser = daemon.client(token=None, headers={"Cookie": cookie_of(response)})
    assert browser.get("/v1/vms").status == 200
    api.delete(f"/v1/tokens/{made['id']}")
    assert browser.get("/v1/vms").status == 401


def test_bad_sign_ins(daemon):
    nobody = daemon.client(token=None)
    assert nobody.post("/v1/session", {"code": "x" * 32}).code == "sign-in-failed"
    assert nobody.post("/v1/session", {"token": "drover_x"}).code == "sign-in-failed"
    for body in ({}, {"code": "a", "token": "b"}, {"password": "x"}, {"code": 7}):
        assert nobody.post("/v1/session", body).code == "validation-failed", body


def test_the_unix_socket_knows_root(daemon):
    if os.getuid() != 0:
        pytest.skip("needs root")
    me = daemon.socket_client().get("/v1/session").json
    assert me["id"] == "socket:0" and me["role"] == "admin"
    assert daemon.socket_client().post("/v1/session/codes").json["url"].startswith(daemon.url)


# ---- tickets ----

def ticket(api, vm, **more):
    return api.post("/v1/tickets", {"vm": vm["name"], "stream": "console", **more})


def test_a_ticket_names_its_address(daemon, api, make_vm):
    vm = make_vm(channels=["org.example.0"])
    made = ticket(api, vm).json
    assert made["url"] == f"ws://{daemon.address}/v1/vms/{vm['id']}/console?mode=control&ticket={made['ticket']}"
    channel = ticket(api, vm, stream="channels/org.example.0", mode="view").json
    assert f"/v1/vms/{vm['id']}/channels/org.example.0?mode=view&" in channel["url"]


def test_tickets_for_what_does_not_exist(api, make_vm):
    vm = make_vm()
    assert ticket(api, {"name": "nobody"}).code == "vm-not-found"
    assert ticket(api, vm, stream="channels/none").code == "stream-not-found"
    assert ticket(api, vm, stream="display").code == "stream-not-found"
    assert ticket(api, vm, stream="screen").json["pointer"] == "/stream"
    assert ticket(api, vm, mode="destroy").json["pointer"] == "/mode"


def test_a_viewer_gets_no_ticket_to_type(daemon, token, make_vm):
    vm, viewer = make_vm(), daemon.client(token("viewer"))
    assert ticket(viewer, vm).code == "forbidden"
    assert ticket(viewer, vm, mode="view").status == 201


def open_with(daemon, path, secret):
    with pytest.raises(Refused) as refused:
        daemon.websocket(f"{path}{'&' if '?' in path else '?'}ticket={secret}", token=None)
    return refused.value.status


def test_a_ticket_is_for_one_stream_in_one_mode_once(daemon, api, make_vm):
    """The VM does not run, so a ticket that is taken leads to 409, one that is not to 410."""
    vm, other = make_vm(), make_vm()
    path = f"/v1/vms/{vm['id']}/console"
    assert open_with(daemon, path, "x" * 32) == 410
    assert open_with(daemon, f"/v1/vms/{other['id']}/console", ticket(api, vm).json["ticket"]) == 410
    assert open_with(daemon, "/v1/vms/nobody/console", ticket(api, vm).json["ticket"]) == 410
    assert open_with(daemon, f"{path}?mode=view", ticket(api, vm).json["ticket"]) == 410
    assert open_with(daemon, path, ticket(api, vm, mode="view").json["ticket"]) == 410
    good = ticket(api, vm).json["ticket"]
    assert open_with(daemon, path, good) == 409
    assert open_with(daemon, path, good) == 410
