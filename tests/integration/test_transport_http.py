"""The transport: answers, credentials and pages."""

import os
import signal

import pytest

from transport import AUTH, c, cookie, eventually, own, server  # noqa: F401

# ---- answers ----


def test_a_request_gets_its_answer_and_its_headers(c):
    r = c.request("GET", "/v1/vms/x")
    assert r.status == 200 and r.json["name"] == "web-1"
    assert r.headers["content-type"] == "application/json"
    assert r.headers["x-content-type-options"] == "nosniff"
    assert r.headers["referrer-policy"] == "no-referrer"
    assert r.headers["cache-control"] == "no-store"
    assert 1 <= len(r.headers["x-request-id"]) <= 36


@pytest.mark.parametrize("path", ["/v1/vms/x", "/v1/blocking/x"])
def test_a_connection_is_kept_for_the_next_request(c, path):
    ids = {c.request("GET", path).headers["x-request-id"] for _ in range(50)}
    assert len(ids) == 50


def test_pipelined_requests_are_answered_in_order(c):
    c.send(b"".join(c.head("GET", p, {"X-Request-Id": f"r{i}"}) for i, p in enumerate(["/v1/blocking/x", "/v1/vms/x"] * 5)))
    assert [c.answer().headers["x-request-id"] for _ in range(10)] == [f"r{i}" for i in range(10)]


def test_a_valid_request_id_is_echoed_and_a_bad_one_replaced(c):
    assert c.request("GET", "/v1/vms/x", headers={"X-Request-Id": "abc.DEF_1-2"}).headers["x-request-id"] == "abc.DEF_1-2"
    for bad in ["a b", "x" * 37, "a/b", "<script>"]:
        assert c.request("GET", "/v1/vms/x", headers={"X-Request-Id": bad}).headers["x-request-id"] != bad


def test_head_has_the_length_but_no_body(c):
    r = c.request("HEAD", "/v1/vms/x")
    assert r.status == 200 and int(r.headers["content-length"]) > 500
    assert c.request("GET", "/v1/vms/x").status == 200


def test_http_10_is_answered_and_closed(c):
    c.send(f"GET /v1/public HTTP/1.0\r\nHost: {c.host}\r\n\r\n".encode())
    assert c.answer().status == 200
    assert c.is_closed()


def test_query_and_path_are_decoded_once(c):
    r = c.request("GET", "/v1/query/a%2541%20b?n=3&l=a+b&l=c%3Dd&e")
    assert r.json["param"] == "a%41 b"
    assert r.json["args"] == [["n", "3"], ["l", "a b"], ["l", "c=d"], ["e", ""]]


@pytest.mark.parametrize("query", ["n=11", "n=-1", "n=1x", "n=", "n=0x1", "a=%00", "a=%", "a=%ff"])
def test_bad_arguments_are_named(c, query):
    r = c.request("GET", "/v1/query/x?" + query)
    assert r.status == 400 and r.code == "invalid-argument"
    assert r.json["pointer"] == ("n" if query[0] == "n" else "query")


def test_unknown_paths_methods_and_versions(c):
    assert c.request("GET", "/v1/nothing").code == "not-found"
    r = c.request("PUT", "/v1/public")
    assert r.status == 405 and r.code == "method-not-allowed"
    assert r.headers["allow"] == "GET, HEAD, POST"
    assert c.request("OPTIONS", "/v1/public").status == 405
    assert c.request("GET", "/v1//public").code == "malformed-request"
    assert c.request("GET", "/v1/../etc/passwd").code == "malformed-request"
    assert c.request("GET", "/v1/vms/a%2fb").code == "malformed-request"


def test_a_problem_shows_the_error_but_not_the_cause(c):
    r = c.request("POST", "/v1/fail?code=name-in-use")
    assert r.status == 409 and r.code == "name-in-use"
    assert r.json["pointer"] == "/member" and r.json["remedy"] == "Do otherwise."
    assert r.json["instance"] == "urn:drover:request:" + r.headers["x-request-id"]
    assert b"secret" not in r.body


def test_what_may_be_retried_says_when(c):
    for code, status in [("unavailable", 503), ("too-many-requests", 429)]:
        r = c.request("POST", "/v1/fail?code=" + code)
        assert r.status == status and int(r.headers["retry-after"]) >= 1 and r.json["retry"] is True


def test_if_match_is_a_generation(c):
    for sent, status, want in [
        (None, 200, 0),
        ("*", 200, 0),
        ('"7"', 200, 7),
        ("7", 400, None),
        ('W/"7"', 400, None),
        ('"7", "8"', 400, None),
        ('"abc"', 412, None),
        ('"0"', 412, None),
        ('"99999999999999999999"', 412, None),
    ]:
        r = c.request("DELETE", "/v1/echo", headers={"If-Match": sent} if sent else {})
        assert r.status == status, sent
        if status == 200:
            assert r.json["generation"] == want


def test_request_lines_are_logged_without_the_query(own):
    s = own(level="--debug")
    s.request("GET", "/v1/query/name-of-mine?secret=hunter2", headers={"X-Request-Id": "my-id"})
    # the line is written at the end of the loop's turn, which may be after the answer
    line = eventually(lambda: next((line for line in s.log_text().splitlines() if "/v1/query/" in line), None))
    text = s.log_text()
    assert line.startswith("<7>GET /v1/query/{name} 200 ")
    assert "principal=token:admin" in line and "peer=127.0.0.1" in line and "request=my-id" in line
    assert "hunter2" not in text and AUTH["Authorization"].split()[1] not in text


def test_reads_that_went_well_are_not_logged_at_info(own):
    s = own(level="--info")
    s.request("GET", "/v1/vms/x", headers={"X-Request-Id": "a-read"})
    s.request("GET", "/v1/nothing", headers={"X-Request-Id": "a-miss"})
    s.request("DELETE", "/v1/echo", headers={"X-Request-Id": "a-write"})
    eventually(lambda: "a-write" in s.log_text())
    text = s.log_text()
    assert "a-read" not in text
    assert "<6>GET (no route) 404 " in text and "request=a-miss" in text
    assert "<6>DELETE /v1/echo 200 " in text and "request=a-write" in text


def test_counters_follow_the_requests(own):
    s = own()
    s.request("GET", "/v1/vms/x")
    s.request("GET", "/v1/vms/x")
    s.request("GET", "/v1/nothing")
    s.request("GET", "/v1/vms/x", headers={"Authorization": "Bearer wrong"})
    state = s.state()
    assert state["routes"]["getVm"] == [0, 0, 2, 0, 1, 0]
    assert state["routes"]["none"] == [0, 0, 0, 0, 1, 0]
    assert state["auth_failures"] == 1 and state["latency_count"] == 4

# ---- who may ----


def test_credentials(server, c):
    assert c.request("GET", "/v1/vms/x", auth=False).code == "unauthenticated"
    r = c.request("GET", "/v1/vms/x", headers={"Authorization": "Bearer nonsense"})
    assert r.status == 401 and r.headers["www-authenticate"].startswith("Bearer")
    assert c.request("GET", "/v1/vms/x", headers={"Authorization": "Basic YTpi"}).status == 401
    assert c.request("GET", "/v1/vms/x", headers={"Authorization": "bearer admin-token"}).status == 200
    viewer = {"Authorization": "Bearer viewer-token"}
    assert c.request("GET", "/v1/vms/x", headers=viewer).status == 200
    assert c.request("POST", "/v1/echo", {}, headers=viewer).code == "forbidden"
    assert c.request("GET", "/v1/public", auth=False).json["signed_in"] is False
    assert c.request("GET", "/v1/public").json["signed_in"] is True
    # Present but bad is never passed over, not even where none is needed.
    assert c.request("GET", "/v1/public", headers={"Authorization": "Bearer nonsense"}).status == 401


def test_a_unix_peer_is_known_by_its_uid(server):
    with server.connect(unix=True) as c:
        c.host = "whatever.example"
        r = c.request("GET", "/v1/query/x", auth=False)
        assert r.status == 200 and r.json["principal"] == f"socket:{os.getuid()}"


def test_guessing_is_slowed(own):
    s = own("auth_failures_per_minute=3")
    wrong = {"Authorization": "Bearer wrong"}
    statuses = [s.request("GET", "/v1/vms/x", headers=wrong).status for _ in range(5)]
    assert statuses == [401, 401, 401, 429, 429]
    # Whose credential is right is not held up by who guesses from the same address.
    assert s.request("GET", "/v1/vms/x").status == 200


@pytest.mark.parametrize(
    "headers, status",
    [
        ({}, 403),
        ({"Origin": "http://{host}"}, 201),
        ({"Sec-Fetch-Site": "same-origin"}, 201),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://{host}.evil.example"}, 403),
        ({"Origin": "https://{host}"}, 403),
        ({"Origin": "http://{host}", "Content-Type": "text/plain"}, 415),
        ({"Origin": "http://{host}", "Content-Type": "application/x-www-form-urlencoded"}, 415),
    ],
)
def test_a_cookie_writes_only_from_our_own_page(c, headers, status):
    sent = {k: v.format(host=c.host) for k, v in cookie(**headers).items()}
    assert c.request("POST", "/v1/echo", {"a": 1}, headers=sent, auth=False).status == status


def test_a_cookie_reads_and_an_old_one_is_no_credential(c):
    assert c.request("GET", "/v1/vms/x", headers=cookie(), auth=False).status == 200
    assert c.request("GET", "/v1/vms/x", headers={"Cookie": "drover_session=old"}, auth=False).status == 401
    assert c.request("GET", "/v1/public", headers={"Cookie": "drover_session=old"}, auth=False).status == 200


def test_foreign_pages_are_refused_whatever_they_send(c):
    r = c.request("POST", "/v1/echo", {}, headers={"Origin": "https://evil.example"})
    assert r.code == "origin-refused"
    r = c.request("POST", "/v1/public", {}, headers={"Origin": "https://evil.example"}, auth=False)
    assert r.code == "origin-refused"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8460", "0x7f000001"])
def test_names_that_are_not_ours_are_refused(c, host):
    c.host = host
    assert c.request("GET", "/v1/public").code == "host-refused"


def test_allowed_names_and_origins_follow_a_reload(own):
    s = own("allowed_hosts=vm.lan", "allowed_origins=https://console.example")
    with s.connect() as c:
        c.host = "vm.lan:1"
        assert c.request("GET", "/v1/public").status == 200
        assert c.request("POST", "/v1/echo", {}, headers={"Origin": "https://console.example"}).status == 201
        s.process.send_signal(signal.SIGHUP)
        assert c.request("GET", "/v1/public").status == 200
