"""The transport: bodies, uploads, deadlines, limits, parked requests and event streams."""

import hashlib
import os
import socket
import time

import pytest

from transport import c, eventually, in_clear, own, server  # noqa: F401

# ---- bodies ----


def test_a_body_is_parsed_and_hashed(c):
    r = c.request("POST", "/v1/echo", {"a": [1, 2]}, headers={"Idempotency-Key": "k1"})
    assert r.status == 201 and r.json["json"] == {"a": [1, 2]} and r.json["key"] == "k1"
    assert r.json["sha256"] == hashlib.sha256(b'POST\n/v1/echo\n{"a": [1, 2]}').hexdigest()
    assert r.headers["location"] == "/v1/echo/1"


def test_a_chunked_body_is_the_same(c):
    c.send(c.head("POST", "/v1/echo", {"Transfer-Encoding": "chunked", "Content-Type": "application/json"}))
    for part in [b'{"a"', b":", b"1}"]:
        c.send(b"%x\r\n%s\r\n" % (len(part), part))
    c.send(b"0\r\n\r\n")
    assert c.answer().json["json"] == {"a": 1}
    assert c.request("GET", "/v1/vms/x").status == 200


@pytest.mark.parametrize(
    "body, code",
    [
        (b"", "malformed-body"),
        (b"   ", "malformed-body"),
        (b"{", "malformed-body"),
        (b'{"a":1}x', "malformed-body"),
        (b'{"a":1,"a":2}', None),
        (b"\xff", None),
        (b"[" * 10000 + b"]" * 10000, None),
        (b"[" + b"{}," * 20000 + b"{}]", None),
    ],
    ids=["empty", "blank", "open", "trailing", "duplicate", "not-utf8", "10000-deep", "many"],
)
def test_bad_json_is_a_problem_and_the_connection_goes_on(c, body, code):
    r = c.request("POST", "/v1/echo", body, headers={"Content-Type": "application/json"})
    assert 400 <= r.status < 500 and r.code == (code or r.code)
    assert c.request("GET", "/v1/vms/x").status == 200


def test_a_body_where_none_is_taken(c):
    assert c.request("POST", "/v1/fail?code=name-in-use", b'{"x":1}').code == "malformed-body"
    assert c.request("POST", "/v1/fail?code=name-in-use", b"{}").code == "name-in-use"
    assert c.request("POST", "/v1/inline").status == 201


def test_the_limit_is_exact(own):
    s = own("body_limit_bytes=2000", "user_data_limit_bytes=3000")
    json_type = {"Content-Type": "application/json"}
    for path, limit in [("/v1/echo", 2000), ("/v1/echo/large", 5000)]:
        with s.connect() as c:
            for size, status in [(limit, 201), (limit + 1, 413), (limit, 201)]:
                body = b'"' + b"a" * (size - 2) + b'"'
                body = b'{"a":"' + b"a" * (size - 8) + b'"}'
                assert len(body) == size
                assert c.request("POST", path, body, headers=json_type).status == status, (path, size)


def test_a_chunked_body_over_the_limit_is_refused(own):
    s = own("body_limit_bytes=2000")
    with s.connect() as c:
        c.send(c.head("POST", "/v1/echo", {"Transfer-Encoding": "chunked", "Content-Type": "application/json"}))
        c.send((b"400\r\n" + b"a" * 1024 + b"\r\n") * 4 + b"0\r\n\r\n")
        assert c.answer().code == "body-too-large"
        assert c.request("GET", "/v1/vms/x").status == 200


def test_an_endless_chunked_body_is_cut(server):
    before = server.state()["rss_kib"]
    with server.connect() as c:
        c.send(c.head("POST", "/v1/echo", {"Transfer-Encoding": "chunked", "Content-Type": "application/json"}))
        with pytest.raises(OSError):
            for _ in range(2000):
                c.send(b"10000\r\n" + b"a" * 65536 + b"\r\n")
    assert server.state()["rss_kib"] < before + 20000


def test_a_huge_length_is_refused_before_the_body(c):
    c.send(c.head("POST", "/v1/echo", {"Content-Length": 10**12, "Content-Type": "application/json"}))
    r = c.answer()
    assert r.status == 413 and r.code == "body-too-large" and c.is_closed()


def test_expect_continue_is_answered_before_the_body(c):
    c.send(c.head("POST", "/v1/echo", {"Content-Length": 2, "Content-Type": "application/json", "Expect": "100-continue"}))
    assert c.until(b"\r\n\r\n").startswith(b"HTTP/1.1 100")
    c.send(b"{}")
    assert c.answer().status == 201
    c.send(c.head("POST", "/v1/echo", {"Content-Length": 2, "Content-Type": "application/json", "Expect": "100-continue", "Authorization": "Bearer no"}))
    assert c.answer().status == 401


@pytest.mark.parametrize("headers", [{}, {"Content-Length": 0}])
def test_expect_continue_without_a_body_is_refused(server, headers):
    """libmicrohttpd takes a request that was sent along for the body, and then closes without an answer."""
    for method, path in (("GET", "/v1/vms/x"), ("POST", "/v1/echo")):
        with server.connect() as c:
            c.send(c.head(method, path, {"Expect": "100-continue", **headers}) * 3)
            r = c.answer()
            assert r.status == 400 and r.code == "malformed-request" and c.is_closed()

# ---- uploads ----


def send_upload(c, total, path="/v1/upload", headers=None, watch=None):
    block = os.urandom(1 << 20)
    c.send(c.head("PUT", path, {"Content-Length": total, **(headers or {})}))
    digest = hashlib.sha256()
    sent = 0
    while sent < total:
        part = block[: min(len(block), total - sent)]
        digest.update(part)
        c.send(part)
        sent += len(part)
        if watch:
            watch()
    return digest.hexdigest()


def test_fifty_megabytes_pass_with_flat_memory(server, c):
    before = server.state()["rss_kib"]
    peak = []
    digest = send_upload(c, 50 << 20, watch=lambda: peak.append(server.state()["rss_kib"]))
    r = c.answer()
    assert r.status == 200 and r.json == {"bytes": 50 << 20, "sha256": digest}
    assert max(peak) < before + 8192, (before, max(peak))


def test_a_chunked_upload_with_odd_chunks(c):
    c.send(c.head("PUT", "/v1/upload", {"Transfer-Encoding": "chunked"}))
    digest = hashlib.sha256()
    for size in [1, 7, 131072, 131071, 300000, 2, 65536] * 3:
        part = os.urandom(size)
        digest.update(part)
        c.send(b"%x\r\n%s\r\n" % (size, part))
    c.send(b"0\r\n\r\n")
    assert c.answer().json["sha256"] == digest.hexdigest()


def test_an_empty_upload(c):
    assert c.request("PUT", "/v1/upload", b"").json["bytes"] == 0


def test_an_upload_is_refused_before_its_bytes(c):
    c.send(c.head("PUT", "/v1/upload?refuse=1", {"Content-Length": 1 << 30, "Expect": "100-continue"}))
    r = c.answer()
    assert r.status == 409 and r.code == "image-state-conflict"


def test_an_upload_that_fails_is_aborted_once(server, c):
    before = server.state()["uploads_aborted"]
    send_upload(c, 3 << 20, "/v1/upload?fail=1")  # the second piece; there are some of 1 MiB
    assert c.answer().code == "insufficient-storage"
    eventually(lambda: server.state()["uploads_aborted"] > before)
    assert server.state()["uploads_aborted"] == before + 1


def test_a_client_that_leaves_aborts_its_upload(server):
    before = server.state()["uploads_aborted"]
    with server.connect() as c:
        c.send(c.head("PUT", "/v1/upload", {"Content-Length": 10 << 20}) + b"x" * 300000)
    eventually(lambda: server.state()["uploads_aborted"] == before + 1)
    eventually(lambda: server.state()["in_flight"] == 1)  # the one that asks

# ---- deadlines and limits ----


def drip(c, data, started):
    """A byte every so often, until the server has had enough; how long after `started` that was."""
    c.sock.settimeout(0.1)
    for byte in data:
        try:
            c.send(bytes([byte]))
            if c.sock.recv(4096) == b"":
                break
        except socket.timeout:
            pass
        except OSError:
            break
        if time.monotonic() - started > 30:
            pytest.fail("still open")
    return time.monotonic() - started


def test_a_slow_header_is_cut_at_the_deadline(own):
    s = own("header_timeout_ms=1500")
    started = time.monotonic()
    with s.connect() as c:
        # A byte a tenth of a second: a deadline that each of them put off would come after minutes.
        assert 1.4 < drip(c, c.head("GET", "/v1/public", {"X-A": "b" * 1000}), started) < 20
    eventually(lambda: s.state()["timed_out"] == 1 and s.state()["connections"] == 1)


def test_a_slow_header_is_told_why(own):
    s = own("header_timeout_ms=1000")
    with s.connect() as c:
        c.send(b"GET /v1/public HTTP/1.1\r\nHo")
        assert c.answer().code == "request-timeout"
        assert c.is_closed()


def test_a_slow_body_is_cut_at_the_deadline(own):
    s = own("body_timeout_ms=600")
    with s.connect() as c:
        started = time.monotonic()
        c.send(c.head("POST", "/v1/echo", {"Content-Length": 1000, "Content-Type": "application/json"}))
        assert 0.5 < drip(c, b"[" * 1000, started) < 20


def test_a_crawling_upload_is_cut_and_aborted(own):
    s = own("body_timeout_ms=500")
    with s.connect() as c:
        started = time.monotonic()
        c.send(c.head("PUT", "/v1/upload", {"Content-Length": 1 << 20}))
        assert 0.4 < drip(c, b"x" * 1000, started) < 20
    eventually(lambda: s.state()["uploads_aborted"] == 1)


def test_an_idle_connection_is_closed(own):
    s = own("idle_timeout_ms=1000", "header_timeout_ms=60000")
    with s.connect() as c:
        started = time.monotonic()
        assert c.request("GET", "/v1/public").status == 200
        assert c.is_closed(30)
        assert 0.9 < time.monotonic() - started < 20


def own_that_is_full(own):
    """Every place is taken, and the next one is told so."""
    s = own("max_connections=16", "max_connections_per_address=64")
    held = [s.connect() for _ in range(16)]
    for c in held:
        assert c.request("GET", "/v1/public").status == 200
    with s.connect() as c:
        assert c.answer().status == 503
    return s, held


@in_clear
def test_connections_are_limited_and_the_next_is_told(own):
    s, held = own_that_is_full(own)
    held.pop().close()
    eventually(lambda: attempt(s) == 200)
    for c in held:
        c.close()


@in_clear
def test_the_host_gets_in_when_every_place_is_taken(own):
    """Its administrator, over the Unix socket, and eight times; whoever holds the places does not."""
    s, held = own_that_is_full(own)
    ours = [s.connect(unix=True) for _ in range(8)]
    for c in ours:
        assert c.request("GET", "/v1/state").json["connections"] > 16
    with s.connect(unix=True) as c:
        assert c.answer().status == 503
    for c in held + ours:
        c.close()


def attempt(s):
    try:
        return s.request("GET", "/v1/public").status
    except (EOFError, OSError):
        return 0


@in_clear
def test_one_address_cannot_take_all(own):
    s = own("max_connections=64", "max_connections_per_address=4")
    held = [s.connect() for _ in range(4)]
    for c in held:
        assert c.request("GET", "/v1/public").status == 200
    with s.connect() as c:
        assert c.answer().status == 429
    other = socket.create_connection(s.address, source_address=("127.0.0.2", 0))
    other.sendall(b"GET /v1/public HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert other.recv(12) == b"HTTP/1.1 200"
    other.close()
    with s.connect(unix=True) as c:
        assert c.request("GET", "/v1/public").status == 200
    for c in held:
        c.close()


def test_idle_thousands_do_not_hurt_a_good_client(own):
    s = own("max_connections=2000", "max_connections_per_address=2000")
    held = []
    for _ in range(800):
        c = s.connect()
        c.send(b"GET /v1/pub")
        held.append(c)
    times = []
    for _ in range(50):
        started = time.monotonic()
        assert s.request("GET", "/v1/public").status == 200
        times.append(time.monotonic() - started)
    assert sorted(times)[40] < 0.1
    for c in held:
        c.close()

# ---- parked requests ----


def test_a_parked_request_times_out_or_is_woken(server, c):
    started = time.monotonic()
    assert c.request("POST", "/v1/park?timeout_ms=200").json == {"result": "timeout", "kept": "kept"}
    assert 0.15 < time.monotonic() - started < 20
    assert c.request("POST", "/v1/park?id=done").json["result"] == "done"
    c.send(c.head("POST", "/v1/park?id=op-1", {}))
    eventually(lambda: server.state()["parked"] == 1)
    server.request("POST", "/v1/finish?id=op-1")
    assert c.answer().json["result"] == "done"


def test_more_requests_park_than_there_are_workers(own):
    s = own("request_workers=1")
    held = [s.connect() for _ in range(50)]
    for c in held:
        c.send(c.head("POST", "/v1/park?id=many&timeout_ms=20000", {}))
    eventually(lambda: s.state()["parked"] == 50)
    s.request("POST", "/v1/finish?id=many")
    assert all(c.answer().json["result"] == "done" for c in held)
    for c in held:
        c.close()


def test_a_client_that_leaves_while_parked_is_no_trouble(server):
    with server.connect() as c:
        c.send(c.head("POST", "/v1/park?id=left&timeout_ms=2000", {}))
        eventually(lambda: server.state()["parked"] == 1)
    eventually(lambda: server.state()["parked"] == 0 and server.state()["in_flight"] == 1)

# ---- event streams ----


def test_a_stream_delivers_and_ends(c):
    c.send(c.head("GET", "/v1/events?count=20", {"Accept": "text/event-stream"}))
    r = c.answer(stream=True)
    assert r.status == 200 and r.headers["content-type"] == "text/event-stream"
    text = b"".join(c.chunks()).decode()
    assert text == "".join(f'id: {i}\ndata: {{"n":{i}}}\n\n' for i in range(1, 21))
    assert c.request("GET", "/v1/events").json == {"items": []}


def test_a_stream_ends_with_its_client(server):
    with server.connect() as c:
        c.send(c.head("GET", "/v1/events?count=1000000", {"Accept": "text/event-stream"}))
        c.answer(stream=True)
        c.more()
        eventually(lambda: server.state()["streams"] == 1)
    eventually(lambda: server.state()["streams"] == 0 and server.state()["sources"] == 0)


def test_head_of_a_stream_is_no_stream(server, c):
    assert c.request("HEAD", "/v1/events", headers={"Accept": "text/event-stream"}).status == 200
    assert server.state()["sources"] == 0


def test_many_streams_at_once(server):
    held = [server.connect() for _ in range(30)]
    for c in held:
        c.send(c.head("GET", "/v1/events?count=50&every_ms=1", {"Accept": "text/event-stream"}))
    for c in held:
        c.answer(stream=True)
        assert b"".join(c.chunks()).count(b"data:") == 50
        c.close()
    eventually(lambda: server.state()["sources"] == 0)
