"""Webhooks against a real receiver: signed, in order, at least once, whoever is down, slow or hostile."""
import base64
import time

import pytest
from daemon import eventually
from webhook_receiver import SECRET, Receiver

QUICK = {"webhook_private": 1, "webhook_retry_seconds": 1, "webhook_retry_max_seconds": 2,
         "webhook_timeout_seconds": 5}


@pytest.fixture
def receiver():
    with Receiver() as r:
        yield r


@pytest.fixture
def local(fresh_daemon):
    return fresh_daemon(settings=QUICK)


@pytest.fixture
def client(local):
    return local.client()


def add(client, receiver, **kw):
    response = client.post("/v1/webhooks", {"url": receiver.url, "secret": SECRET, **kw})
    assert response.status == 201, response
    assert "secret" not in response.json, "who sent it knows it"
    return response.json["id"]


def shown(client, hook):
    return client.get(f"/v1/webhooks/{hook}").json


def deliveries(client, hook):
    return client.get(f"/v1/webhooks/{hook}/deliveries", limit=100).json["items"]


def make_vm(client, name):
    response = client.post("/v1/vms", {"name": name, "memory_mib": 64, "networks": []})
    assert response.status == 201, response
    operation = response.json["operation"]["id"]
    assert client.get(f"/v1/operations/{operation}", wait=30).json["state"] == "succeeded"
    return response.json["id"]


def log(client, since=0):
    """Every event after the seq, as the log has them."""
    items = []
    while True:
        page = client.get("/v1/events", since=since, limit=1000).json["items"]
        if not page:
            return items
        items += page
        since = page[-1]["seq"]


def born(client, hook):
    return next(e["seq"] for e in log(client) if e["type"] == "webhook.created" and e["subject"]["id"] == hook)


def caught_up(client, receiver, hook):
    """The receiver has every event since the hook was made, in order."""
    want = [e["seq"] for e in log(client, born(client, hook))]
    return bool(want) and receiver.seqs() == want


def acknowledged(client, hook):
    """The daemon, too, knows that everything so far has arrived: nothing is under way."""
    return shown(client, hook)["delivery"]["last_seq"] >= log(client)[-1]["seq"]


# ---- delivering ----


def test_events_arrive_in_order_signed_and_as_the_log_has_them(client, receiver):
    hook = add(client, receiver)
    for i in range(3):
        make_vm(client, f"vm-{i}")
    eventually(lambda: caught_up(client, receiver, hook))
    assert [body for _, body in receiver.messages] == log(client, born(client, hook))
    for headers, body in receiver.messages:
        assert headers["content-type"] == "application/json" and headers["user-agent"].startswith("Drover/")
        assert headers["webhook-id"].startswith("evt_") and headers["webhook-id"].endswith(f"_{body['seq']}")
        assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    assert not receiver.refused, "every signature is good"
    state = eventually(lambda: (lambda w: w if w["delivery"]["last_success_at"] else None)(shown(client, hook)))
    assert state["state"] == "ok" and state["delivery"]["failures"] == 0 and state["delivery"]["last_status"] == 204
    rows = eventually(lambda: (lambda d: d if len(d) == len(receiver.messages) else None)(deliveries(client, hook)))
    assert all(d["delivered"] and d["attempt"] == 1 and d["status"] == 204 for d in rows)
    assert [d["seq"] for d in rows] == receiver.seqs()[::-1], "newest first"


def test_only_what_matches_is_sent(client, receiver):
    hook = add(client, receiver, events=["vm.created", "operation.*"])
    make_vm(client, "one")
    want = [e["seq"] for e in log(client, born(client, hook))
            if e["type"] == "vm.created" or e["type"].startswith("operation.")]
    eventually(lambda: receiver.seqs() == want)
    eventually(lambda: shown(client, hook)["delivery"]["last_seq"] >= want[-1])
    assert set(receiver.types()) == {"vm.created", "operation.started", "operation.finished"}


def test_a_secret_is_drawn_shown_once_and_signs(client):
    with Receiver() as receiver:
        response = client.post("/v1/webhooks", {"url": receiver.url, "labels": {"team": "ci"}})
        assert response.status == 201 and response.json["secret"].startswith("whsec_")
        receiver.key = base64.b64decode(response.json["secret"][len("whsec_"):])
        hook = response.json["id"]
        assert "secret" not in shown(client, hook) and shown(client, hook)["labels"] == {"team": "ci"}
        assert response.json["secret"] not in client.get("/v1/webhooks").text
        assert client.post(f"/v1/webhooks/{hook}/test").json["delivered"] is True
        assert not receiver.refused


def test_a_ping_tells_what_came_of_it(client, receiver):
    hook = add(client, receiver, enabled=False)
    ping = client.post(f"/v1/webhooks/{hook}/test")
    assert ping.status == 200 and ping.json["delivered"] and ping.json["status"] == 204
    assert ping.json["type"] == "webhook.ping" and receiver.types() == ["webhook.ping"]
    receiver.answer = 503
    ping = client.post(f"/v1/webhooks/{hook}/test").json
    assert not ping["delivered"] and ping["status"] == 503 and "503" in ping["error"]
    eventually(lambda: [d["type"] for d in deliveries(client, hook)] == ["webhook.ping"] * 2)
    assert shown(client, hook)["delivery"]["failures"] == 0, "a ping is no delivery"


def test_a_disabled_hook_sends_nothing_and_goes_on_where_it_stopped(client, receiver):
    hook = add(client, receiver)
    make_vm(client, "before")
    eventually(lambda: caught_up(client, receiver, hook) and acknowledged(client, hook))
    assert client.patch(f"/v1/webhooks/{hook}", {"enabled": False}).json["state"] == "disabled"
    before = len(receiver.messages)
    make_vm(client, "meanwhile")
    assert len(receiver.messages) <= before + 1, "but what was under way"
    assert client.patch(f"/v1/webhooks/{hook}", {"enabled": True}).status == 200
    eventually(lambda: caught_up(client, receiver, hook))


def test_redelivering_goes_back_in_the_log(client, receiver):
    hook = add(client, receiver, events=["vm.created"])
    for i in range(3):
        make_vm(client, f"vm-{i}")
    eventually(lambda: len(receiver.messages) == 3)
    second = receiver.messages[1]
    response = client.post(f"/v1/webhooks/{hook}/redeliver", {"from_seq": second[1]["seq"]})
    assert response.status == 200 and response.json["delivery"]["last_seq"] == second[1]["seq"] - 1
    eventually(lambda: len(receiver.messages) == 5)
    assert receiver.messages[3][1] == second[1] and receiver.messages[3][0]["webhook-id"] == second[0]["webhook-id"]
    future = client.post(f"/v1/webhooks/{hook}/redeliver", {"from_seq": 10**9})
    assert future.status == 422 and future.json["pointer"] == "/from_seq"


def test_a_changed_hook_uses_what_it_was_changed_to(client, receiver):
    hook = add(client, receiver, events=["vm.created"])
    with Receiver() as other:
        changed = client.patch(f"/v1/webhooks/{hook}", {"url": other.url, "events": ["vm.changed"]})
        assert changed.status == 200 and changed.json["events"] == ["vm.changed"]
        vm = make_vm(client, "one")
        assert client.patch(f"/v1/vms/{vm}", {"description": "new"}).status == 200
        eventually(lambda: other.types() == ["vm.changed"])
    assert not receiver.messages


def test_another_secret_signs_from_then_on_and_the_same_one_changes_nothing(client, receiver):
    hook = add(client, receiver, events=["vm.created"])
    first = client.get(f"/v1/webhooks/{hook}").json["updated_at"]
    assert client.patch(f"/v1/webhooks/{hook}", {"secret": SECRET}).json["updated_at"] == first
    other = "whsec_" + base64.b64encode(b"another key of 32 bytes for this").decode()
    assert client.patch(f"/v1/webhooks/{hook}", {"secret": other}).json["updated_at"] > first
    receiver.key = base64.b64decode(other[len("whsec_"):])
    make_vm(client, "signed")
    eventually(lambda: receiver.types() == ["vm.created"])
    kinds = [e["type"] for e in client.get("/v1/events?limit=1000").json["items"] if e["subject"]["id"] == hook]
    assert kinds == ["webhook.created", "webhook.changed"], "once"


# ---- receivers that fail ----


def test_a_receiver_that_is_down_gets_everything_when_it_is_back(client):
    receiver = Receiver().hold_port()
    hook = add(client, receiver)
    make_vm(client, "one")
    state = eventually(lambda: (lambda w: w if w["delivery"]["failures"] >= 2 else None)(shown(client, hook)))
    assert state["state"] == "failing" and state["delivery"]["last_status"] is None
    assert "does not accept connections" in state["delivery"]["last_error"]
    assert state["delivery"]["next_attempt_at"] and state["delivery"]["failing_since"]
    with receiver:
        make_vm(client, "two")
        eventually(lambda: caught_up(client, receiver, hook))
        state = eventually(lambda: (lambda w: w if w["state"] == "ok" else None)(shown(client, hook)))
        assert state["delivery"]["last_error"] is None and state["delivery"]["failing_since"] is None
        assert max(d["attempt"] for d in deliveries(client, hook)) >= 3


def test_after_500s_the_same_message_comes_again(client, receiver):
    seen = []

    def flaky(_, __, message):
        seen.append(message[0]["webhook-id"])
        return 204 if seen.count(message[0]["webhook-id"]) == 2 else 500

    receiver.answer = flaky
    hook = add(client, receiver, events=["vm.created"])
    make_vm(client, "one")
    make_vm(client, "two")
    eventually(lambda: len(receiver.messages) == 2)
    assert seen[0] == seen[1] != seen[2] == seen[3], "in order: the second waits for the first"
    rows = eventually(lambda: (lambda d: d if len(d) == 4 else None)(deliveries(client, hook)))
    assert [(d["attempt"], d["status"]) for d in rows[::-1]] == [(1, 500), (2, 204), (1, 500), (2, 204)]


def test_a_slow_receiver_delays_nobody_else(client, receiver):
    def hang(r, _, __):
        r.gate.wait(60)

    with Receiver() as slow:
        slow.answer = hang
        stuck = [add(client, slow) for _ in range(4)]
        hook = add(client, receiver)
        start = time.monotonic()
        make_vm(client, "one")
        eventually(lambda: caught_up(client, receiver, hook), 30)
        assert time.monotonic() - start < 4 * QUICK["webhook_timeout_seconds"], "not one after the other"
        eventually(lambda: all("in time" in (shown(client, h)["delivery"]["last_error"] or "") for h in stuck))
        make_vm(client, "two")
        eventually(lambda: caught_up(client, receiver, hook), 30)


def test_a_redirect_is_not_followed(client, receiver):
    with Receiver() as inner:
        receiver.answer = lambda _, handler, __: handler.reply(307, [("Location", inner.url)])
        hook = add(client, receiver)
        ping = client.post(f"/v1/webhooks/{hook}/test").json
        assert ping["status"] == 307 and not ping["delivered"] and "redirects are not followed" in ping["error"]
        make_vm(client, "one")
        eventually(lambda: shown(client, hook)["delivery"]["failures"] >= 2)
        assert not inner.messages and not inner.refused


def test_an_endless_answer_is_cut_off(client, receiver):
    def endless(_, handler, __):
        handler.send_response(200)
        handler.end_headers()
        handler.close_connection = True
        try:
            for _ in range(100000):
                handler.wfile.write(b"x" * 4096)
        except OSError:
            pass

    receiver.answer = endless
    hook = add(client, receiver, enabled=False)
    ping = client.post(f"/v1/webhooks/{hook}/test").json
    assert ping["delivered"] and ping["status"] == 200 and ping["took_ms"] < 1000 * QUICK["webhook_timeout_seconds"]


def test_410_disables_a_hook(client, receiver):
    receiver.answer = 410
    hook = add(client, receiver)
    make_vm(client, "one")
    state = eventually(lambda: (lambda w: w if w["state"] == "disabled" else None)(shown(client, hook)))
    assert "410" in state["disabled_reason"] and not state["enabled"]
    told = eventually(lambda: [e for e in log(client) if e["type"] == "webhook.disabled"])
    assert told[0]["subject"]["id"] == hook and "410" in told[0]["data"]["reason"]
    receiver.answer = 204
    assert client.patch(f"/v1/webhooks/{hook}", {"enabled": True}).json["disabled_reason"] is None
    eventually(lambda: caught_up(client, receiver, hook))


def test_a_hook_that_fails_for_too_long_is_given_up(fresh_daemon, receiver):
    daemon = fresh_daemon(settings={**QUICK, "webhook_give_up_seconds": 1, "webhook_retry_max_seconds": 1})
    client = daemon.client()
    receiver.answer = 500
    hook = add(client, receiver)
    make_vm(client, "one")
    state = eventually(lambda: (lambda w: w if w["state"] == "disabled" else None)(shown(client, hook)))
    assert "failed in a row" in state["disabled_reason"] and "500" in state["disabled_reason"]
    daemon.restart()
    client = daemon.client()
    assert shown(client, hook)["state"] == "disabled", "it stays so"
    assert [e["type"] for e in log(client)].count("webhook.disabled") == 1
    receiver.answer = 204
    client.patch(f"/v1/webhooks/{hook}", {"enabled": True})
    eventually(lambda: caught_up(client, receiver, hook))


# ---- crashes ----


def test_kill_9_between_delivery_and_ack_repeats_and_loses_nothing(local, client, receiver):
    """The receiver has the message, the daemon dies before it hears so."""
    def hang(r, _, message):
        r.messages.append(message)
        r.gate.wait(60)

    receiver.answer = hang
    hook = add(client, receiver)
    make_vm(client, "one")
    eventually(lambda: receiver.messages)
    local.kill9()
    receiver.gate.set()
    receiver.answer = 204
    local.start()
    client = local.client()
    want = [e["seq"] for e in log(client, born(client, hook))]
    eventually(lambda: set(receiver.seqs()) >= set(want))
    seqs = receiver.seqs()
    assert seqs[0] == want[0] and seqs.count(want[0]) == 2, "the first came twice"
    ids = {h["webhook-id"] for h, _ in receiver.messages}
    assert len(ids) == len(set(seqs)), "and under the same id, so that it can be told"


def test_kill_9_again_and_again_loses_nothing(local, client, receiver):
    hook = add(client, receiver)
    start = born(client, hook)
    for i in range(4):
        before = len(receiver.messages)
        response = local.client().post("/v1/vms", {"name": f"vm-{i}", "memory_mib": 64, "networks": []})
        assert response.status == 201, response
        # Somewhere on the way of what that made happen, which is at least three events.
        eventually(lambda n=before + i: len(receiver.messages) >= n, every=0)
        local.kill9()
        local.start()
    client = local.client()
    want = [e["seq"] for e in log(client, start)]
    eventually(lambda: set(receiver.seqs()) >= set(want))
    first = list(dict.fromkeys(receiver.seqs()))
    assert first[:len(want)] == want, "in order, but for repetitions"


def test_a_gap_is_told_when_events_left_the_log_meanwhile(local, client, receiver):
    import sqlite3

    hook = add(client, receiver)
    make_vm(client, "before")
    eventually(lambda: caught_up(client, receiver, hook) and acknowledged(client, hook))
    client.patch(f"/v1/webhooks/{hook}", {"enabled": False})
    make_vm(client, "missed")
    last = shown(client, hook)["delivery"]["last_seq"]
    newest = log(client)[-1]["seq"]
    local.stop()
    with sqlite3.connect(local.state_dir / "drover.db") as db:  # as the janitor does, weeks later
        db.execute("DELETE FROM events WHERE seq <= ?", (newest - 1,))
    db.close()
    local.start()
    client = local.client()
    already = len(receiver.messages)
    client.patch(f"/v1/webhooks/{hook}", {"enabled": True})
    eventually(lambda: len(receiver.messages) > already + 1)
    headers, gap = receiver.messages[already]
    assert gap["type"] == "webhook.gap" and gap["data"] == {"from_seq": last + 1, "to_seq": newest - 1}
    assert gap["subject"] == {"kind": "webhook", "id": hook, "name": ""} and headers["webhook-id"].startswith("gap_")
    assert receiver.messages[already + 1][1]["seq"] == newest, "and then what is left"


# ---- who may have them, and where to ----


def test_private_receivers_are_refused_unless_allowed(fresh_daemon, receiver):
    client = fresh_daemon().client()
    for url in ("http://127.0.0.1:80/x", "http://10.1.2.3/", "http://169.254.169.254/latest", "http://[::1]/",
                "http://0x7f.1/", "https://192.168.1.1/"):
        response = client.post("/v1/webhooks", {"url": url})
        assert response.status == 422 and response.json["pointer"] == "/url", (url, response)
        assert "public" in response.json["detail"] and "webhook_private" in response.json["remedy"]
    named = client.post("/v1/webhooks", {"url": f"http://localhost:{receiver.port}/", "secret": SECRET}).json["id"]
    ping = client.post(f"/v1/webhooks/{named}/test").json
    assert not ping["delivered"] and "not a public address" in ping["error"], "judged when it connects"
    assert not receiver.messages and not receiver.refused


def test_bad_webhooks_are_refused_and_change_nothing(client, receiver):
    for body, pointer in (({}, "/url"), ({"url": "ftp://example.org/"}, "/url"), ({"url": "nonsense"}, "/url"),
                          ({"url": "http://a:b@example.org/"}, "/url"), ({"url": "http://x/" + "y" * 2100}, "/url"),
                          ({"url": receiver.url, "events": []}, "/events"),
                          ({"url": receiver.url, "events": ["vm.*", "*.vm"]}, "/events/1"),
                          ({"url": receiver.url, "events": ["vm.* lease"]}, "/events/0"),
                          ({"url": receiver.url, "events": [7]}, "/events/0"),
                          ({"url": receiver.url, "events": ["*"] * 33}, "/events"),
                          ({"url": receiver.url, "secret": "tiny"}, "/secret"),
                          ({"url": receiver.url, "secret": "whsec_AAAA"}, "/secret"),
                          ({"url": receiver.url, "labels": {"a": 1}}, "/labels/a"),
                          ({"url": receiver.url, "enabled": "yes"}, "/enabled"),
                          ({"url": receiver.url, "surprise": 1}, "/surprise")):
        response = client.post("/v1/webhooks", body)
        assert response.status == 422 and response.json["pointer"] == pointer, (body, response)
    assert client.get("/v1/webhooks").json["items"] == []
    hook = add(client, receiver)
    assert client.patch(f"/v1/webhooks/{hook}", {"url": "gopher://x"}).json["pointer"] == "/url"
    assert client.post(f"/v1/webhooks/{hook}/redeliver", {"from_seq": 0}).json["pointer"] == "/from_seq"
    assert shown(client, hook)["url"] == receiver.url
    missing = "00000000-0000-4000-8000-000000000000"
    for response in (client.get(f"/v1/webhooks/{missing}"), client.delete(f"/v1/webhooks/{missing}"),
                     client.patch(f"/v1/webhooks/{missing}", {}), client.post(f"/v1/webhooks/{missing}/test"),
                     client.post(f"/v1/webhooks/{missing}/redeliver", {"from_seq": 1}),
                     client.get(f"/v1/webhooks/{missing}/deliveries")):
        assert response.code == "webhook-not-found", response


def test_only_webhook_write_may_and_nobody_reads_urls_in_events(local, client, receiver):
    token = client.post("/v1/tokens", {"name": "op", "role": "operator"}).json["token"]
    operator = local.client(token=token)
    assert operator.get("/v1/webhooks").code == "forbidden"
    assert operator.post("/v1/webhooks", {"url": receiver.url}).code == "forbidden"
    hook = add(client, receiver)
    assert client.delete(f"/v1/webhooks/{hook}").status == 204
    assert client.get(f"/v1/webhooks/{hook}").code == "webhook-not-found"
    told = [e for e in log(operator) if e["subject"]["kind"] == "webhook"]
    assert [e["type"] for e in told] == ["webhook.created", "webhook.deleted"]
    assert all(str(receiver.port) not in str(e["data"]) for e in told)


def test_there_is_a_limit_and_lists_have_pages(client, receiver):
    hooks = [add(client, receiver, enabled=False) for _ in range(64)]
    assert client.post("/v1/webhooks", {"url": receiver.url}).code == "forbidden"
    page = client.get("/v1/webhooks", limit=40).json
    rest = client.get("/v1/webhooks", limit=40, cursor=page["next_cursor"]).json
    assert [w["id"] for w in page["items"] + rest["items"]] == hooks and rest["next_cursor"] is None
    assert client.delete(f"/v1/webhooks/{hooks[0]}").status == 204
    eventually(lambda: client.post("/v1/webhooks", {"url": receiver.url, "enabled": False}).status == 201)


def test_metrics_count_deliveries(client, receiver):
    hook = add(client, receiver, events=["vm.created"])
    make_vm(client, "one")
    eventually(lambda: receiver.messages)
    client.post(f"/v1/webhooks/{hook}/test")
    lines = {'drover_webhook_deliveries_total{result="delivered"} 1', 'drover_webhook_deliveries_total{result="ping"} 1',
             'drover_webhooks{state="ok"} 1'}
    eventually(lambda: lines <= set(client.get("/metrics").text.splitlines()))
    assert "drover_webhook_lag_events " in client.get("/metrics").text
