"""Share links over real sockets: they open, show who came, and close when the right ends."""
import json
import time

import pytest

from rig import HELLO, Console, eventually
from websocket import Refused

V1 = ("drover.console.v1",)
SOON = 2  # seconds in which a socket must be closed, as promised


@pytest.fixture(scope="module")
def vm(rig):
    return rig.create(wait="console", channels=["org.example.0"])["id"]


def share(rig, vm, client=None, **more):
    ask = {"vm": vm, "stream": "console", "mode": "view", "single_use": False, "expires_in_seconds": 600, **more}
    answer = (client or rig.api).post("/v1/tickets", ask)
    assert answer.status == 201, answer
    return answer.json


def come(rig, vm, ticket, **kw):
    return Console(rig, vm, ticket["stream"], token=None, ticket=ticket["ticket"], mode=ticket["mode"], timeout=60, **kw)


def new_token(rig, role="operator"):
    return rig.api.post("/v1/tokens", {"name": "t", "role": role}).json


def closed_in_time(consoles, since):
    for c in consoles:
        assert c.until_closed() == 1008
    return time.monotonic() - since < SOON


def test_many_come_by_one_link_again_and_again(rig, vm):
    made = share(rig, vm, name="review")
    with come(rig, vm, made, subprotocols=V1) as a, come(rig, vm, made) as b:
        a.expect(HELLO)
        b.expect(HELLO)
        while a.control("viewers")["count"] != 2:
            pass
    with come(rig, vm, made) as again:
        again.expect(HELLO)
    listed = {t["id"]: t for t in rig.api.get("/v1/tickets").json["items"]}
    assert listed[made["id"]]["last_used_at"]


def test_who_comes_by_a_link_is_seen_under_its_name(rig, vm):
    named, unnamed = share(rig, vm, name="review"), share(rig, vm)
    with rig.console(vm, subprotocols=V1) as me, come(rig, vm, named), come(rig, vm, unnamed):
        while (seen := me.control("viewers"))["count"] != 3:
            pass
        assert {v["name"] for v in seen["viewers"]} == {"admin", "review", "guest of admin"}

    def attached():
        events = rig.events(vm, "console.attached")
        return [e for e in events if e["actor"] == f"ticket:{named['id']}"]
    found = eventually(attached, 20, "the audit log names the ticket")
    assert found[0]["data"]["name"] == "review" and found[0]["data"]["mode"] == "view"


def test_revoking_a_ticket_closes_what_it_opened_and_nothing_else(rig, vm):
    made, other = share(rig, vm), share(rig, vm)
    with come(rig, vm, made) as a, come(rig, vm, made, subprotocols=V1) as b, come(rig, vm, other) as stays:
        for c in (a, b, stays):
            c.expect(HELLO)
        since = time.monotonic()
        assert rig.api.delete(f"/v1/tickets/{made['id']}").status == 204
        assert closed_in_time([a, b], since)
        with pytest.raises(Refused) as refused:
            come(rig, vm, made)
        assert refused.value.status == 410
        with rig.console(vm) as typist:
            typist.send(b"on.")
        stays.expect(rb"on\.")


def test_revoking_a_single_use_closes_its_socket(rig, vm):
    made = share(rig, vm, single_use=True)
    with come(rig, vm, made) as c:
        c.expect(HELLO)
        assert rig.api.get("/v1/tickets", vm=vm).json["items"]
        since = time.monotonic()
        assert rig.api.delete(f"/v1/tickets/{made['id']}").status == 204
        assert closed_in_time([c], since)


def test_an_expiry_ends_the_sockets_of_a_link_but_not_of_a_single_use(rig, vm):
    made = share(rig, vm, expires_in_seconds=3)
    once = share(rig, vm, single_use=True, name="once", expires_in_seconds=3)
    with come(rig, vm, made) as a, come(rig, vm, once) as stays:
        a.expect(HELLO)
        stays.expect(HELLO)
        assert a.until_closed() == 1008
        both = {made["id"], once["id"]}
        eventually(lambda: not both & {t["id"] for t in rig.api.get("/v1/tickets").json["items"]}, 20, "both have expired")
        with rig.console(vm) as typist:
            typist.send(b"stay.")
        stays.expect(rb"stay\.")


def test_revoking_a_token_closes_its_sockets_and_those_of_its_tickets(rig, vm):
    token = new_token(rig)
    client = rig.client(token=token["token"])
    link = share(rig, vm, client)
    short = client.post("/v1/tickets", {"vm": vm, "stream": "console", "mode": "view"}).json
    with Console(rig, vm, token=token["token"], timeout=60) as own, come(rig, vm, link) as guest, \
            come(rig, vm, short) as drawn, \
            Console(rig, vm, "channels/org.example.0", token=token["token"], timeout=60) as channel, \
            rig.console(vm) as stays:
        for c in (own, guest, drawn, stays):
            c.expect(HELLO)
        since = time.monotonic()
        assert rig.api.delete(f"/v1/tokens/{token['id']}").status == 204
        assert closed_in_time([own, guest, drawn, channel], since)
        stays.send(b"here.")
        stays.expect(rb"here\.")
    with pytest.raises(Refused) as refused:
        come(rig, vm, link)
    assert refused.value.status == 410


def sign_in(rig):
    code = rig.api.post("/v1/session/codes").json["code"]
    answer = rig.client(token=None).post("/v1/session", {"code": code})
    assert answer.status == 201
    return {"Cookie": answer.header("Set-Cookie").split(";")[0], "Origin": rig.url}


class Browser(Console):
    def __init__(self, rig, vm, headers, subprotocols=V1):
        self.socket = rig.websocket(f"/v1/vms/{vm}/console", token=None, headers=headers, subprotocols=subprotocols,
                                    timeout=60)
        self.received, self.seen, self.controls = b"", 0, []


def test_signing_out_closes_the_sessions_sockets_but_not_what_it_shared(rig, vm):
    first, second = sign_in(rig), sign_in(rig)
    page = rig.client(token=None, headers={**first, "Sec-Fetch-Site": "same-origin"})
    link = share(rig, vm, page)
    short = page.post("/v1/tickets", {"vm": vm, "stream": "console", "mode": "view"}).json
    with Browser(rig, vm, first) as one, Browser(rig, vm, second) as other, come(rig, vm, short) as drawn, \
            come(rig, vm, link) as guest:
        for c in (one, other, drawn, guest):
            c.expect(HELLO)
        since = time.monotonic()
        assert page.delete("/v1/session").status == 204
        assert closed_in_time([one, drawn], since)
        with rig.console(vm) as typist:
            typist.send(b"left.")
        other.expect(rb"left\.")
        guest.expect(rb"left\.")


def test_a_link_to_watch_cannot_type_whatever_it_sends(rig, vm):
    made = share(rig, vm)
    start = int(rig.log_raw(vm).header("X-Drover-Next"))
    with come(rig, vm, made, subprotocols=V1, from_=start) as a, come(rig, vm, made, from_=start) as b, \
            rig.console(vm, from_=start) as typist:
        for request in ("take-control", "request-control", "release-control"):
            a.send(json.dumps({"type": request}))
            assert a.control("error")["code"] == "view-only"
        a.send(json.dumps({"type": "size", "rows": 9, "cols": 9}))
        assert a.control("error")["code"] == "view-only"
        a.send(b"WRONG")
        a.control("error")
        b.send(b"WRONG")
        typist.send(b"right.")
        typist.expect(rb"right\.")
        assert typist.received == b"right."
    with pytest.raises(Refused) as refused: # and the ticket does not become one to type with
        Console(rig, vm, token=None, ticket=made["ticket"], mode="control", timeout=60)
    assert refused.value.status == 410


def test_two_browsers_hand_the_keyboard_around_and_the_audit_log_has_it(rig, vm):
    """Request, grant, release, take over, and a holder that leaves; over real sockets."""
    start = rig.api.get("/v1/events").json["last_seq"]
    offset = int(rig.log_raw(vm).header("X-Drover-Next"))
    one, two = sign_in(rig), sign_in(rig)
    with Browser(rig, vm, one) as a, Browser(rig, vm, two) as b:
        ids = [c.control("hello")["id"] for c in (a, b)]

        def holder(viewer):
            while (told := viewer.control("control"))["holder"] is None or told["requests"]:
                pass
            return told["holder"]

        b.send(b"no")
        assert b.control("error")["code"] == "not-holder"
        b.send(json.dumps({"type": "request-control"}))
        while ids[1] not in a.control("control")["requests"]:
            pass
        a.send(json.dumps({"type": "grant-control", "to": ids[1]}))
        assert holder(b) == ids[1]
        b.send(b"b1.")
        b.expect(rb"b1\.")
        a.send(b"no")
        assert a.control("error")["code"] == "not-holder"
        a.send(json.dumps({"type": "take-control", "exclusive": True}))
        while b.control("control")["holder"] != ids[0]:
            pass
        a.send(b"a1.")
        a.expect(rb"a1\.")
        b.send(json.dumps({"type": "request-control"}))
        while ids[1] not in a.control("control")["requests"]:
            pass
        a.send(json.dumps({"type": "release-control"}))
        while b.control("control")["holder"] != ids[1]:
            pass
        a.send(json.dumps({"type": "request-control"}))
        while ids[0] not in b.control("control")["requests"]:
            pass
        b.close()
        while a.control("control")["holder"] != ids[0]:
            pass
        a.send(b"a2.")
        a.expect(rb"a2\.")
    assert rig.log_raw(vm, offset).body == b"b1.a1.a2."
    want = ["granted", "taken", "released", "left"]
    eventually(lambda: [e["data"]["how"] for e in rig.events(vm, "console.control", start)] == want, 20, str(want))
