"""The transport: WebSockets, and stopping with everything open."""

import os
import select
import socket
import threading
import time

import pytest

from transport import Connection, Server, c, cookie, eventually, in_clear, own, server  # noqa: F401

# ---- WebSockets ----


def test_an_upgrade_on_a_connection_that_carried_requests(server, c):
    assert c.request("GET", "/v1/vms/x").status == 200
    assert c.request("POST", "/v1/echo", {"a": 1}).status == 201
    r = c.upgrade()
    assert r.status == 101 and "sec-websocket-protocol" not in r.headers
    for payload in [b"hello", b"\x00\xff" * 300, b"x" * 60000]:
        c.ws_send(payload)
        assert c.ws_bytes(len(payload), opcode=2) == payload


def test_text_comes_back_as_text(c):
    c.upgrade()
    c.ws_send("käse".encode(), opcode=1)
    assert c.ws_bytes(5, opcode=1) == "käse".encode()


@in_clear
def test_an_upgrade_with_a_3_kb_cookie(c):
    cookies = "; ".join(f"c{i}={'v' * 90}" for i in range(30)) + "; drover_session=session-cookie"
    assert len(cookies) > 2800
    assert c.upgrade(headers={"Cookie": cookies, "Origin": f"http://{c.host}"}, auth=False).status == 101
    c.ws_send(b"x")
    assert c.ws_bytes(1) == b"x"


@pytest.mark.parametrize(
    "offered, status, chosen",
    [
        ("binary", 101, "binary"),
        ("drover.console.v1", 101, "drover.console.v1"),
        ("other, binary", 101, "binary"),
        ("binary, drover.console.v1", 101, "drover.console.v1"),
        ("other", 400, None),
        ("Binary", 400, None),
    ],
)
def test_subprotocols(c, offered, status, chosen):
    r = c.upgrade(headers={"Sec-WebSocket-Protocol": offered})
    assert r.status == status
    assert r.headers.get("sec-websocket-protocol") == chosen
    if status == 101:
        c.ws_send(b"abc")
        assert c.ws_bytes(3) == b"abc"


def test_errors_come_before_the_upgrade(server, c):
    assert c.upgrade(auth=False).code == "unauthenticated"
    assert c.upgrade("/v1/vms/missing/console").code == "vm-not-found"
    assert c.upgrade(headers={"Authorization": "Bearer viewer-token"}).code == "forbidden"
    r = c.upgrade(headers={"Sec-WebSocket-Version": "8"})
    assert r.status == 426 and r.headers["sec-websocket-version"] == "13"
    assert c.upgrade(drop=["Sec-WebSocket-Version"]).status == 426
    assert c.upgrade(drop=["Upgrade"]).status == 426
    assert c.upgrade(headers={"Connection": "keep-alive"}).status == 426
    assert c.upgrade(headers={"Upgrade": "h2c"}).status == 426
    assert c.request("GET", "/v1/vms/a/console").status == 426
    assert c.upgrade(headers={"Sec-WebSocket-Key": "short"}).status == 400
    assert c.upgrade().status == 101


@pytest.mark.parametrize(
    "headers, status",
    [
        ({}, 403),
        ({"Origin": "http://{host}"}, 101),
        ({"Origin": "https://{host}"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 403),
        ({"Origin": "http://{host}@evil.example"}, 403),
        ({"Origin": "http://127.0.0.1"}, 403),
    ],
)
@in_clear
def test_a_cookie_upgrades_only_from_our_own_page(c, headers, status):
    sent = {k: v.format(host=c.host) for k, v in cookie(**headers).items()}
    assert c.upgrade(headers=sent, auth=False).status == status


def test_a_token_upgrades_without_origin_but_not_with_a_foreign_one(server, c):
    with server.connect() as other:
        assert other.upgrade(headers={"Origin": "https://evil.example"}).status == 403
    assert c.upgrade().status == 101


def test_a_ticket_reaches_the_handler(server):
    with server.connect() as c:
        assert c.upgrade("/v1/vms/a/console?ticket=good", auth=False).status == 101
    with server.connect() as c:
        assert c.upgrade("/v1/vms/a/console?ticket=used", auth=False).code == "ticket-expired"
    with server.connect() as c:
        assert c.upgrade("/v1/events?ticket=good", auth=False).code == "unauthenticated"


def test_one_address_serves_json_events_and_sockets(server, c):
    assert c.request("GET", "/v1/events").json == {"items": []}
    assert c.upgrade("/v1/events?count=2").status == 101
    assert c.ws_frame() == (1, b'id: 1\ndata: {"n":1}\n\n')
    assert c.ws_frame() == (1, b'id: 2\ndata: {"n":2}\n\n')
    assert c.ws_closed() == (1000, "that was all")


def test_an_upgrade_over_the_unix_socket(server):
    with server.connect(unix=True) as c:
        assert c.upgrade(auth=False).status == 101
        c.ws_send(b"abc")
        assert c.ws_bytes(3) == b"abc"


def test_a_hundred_sockets_leave_nothing_behind(server):
    eventually(lambda: server.state()["websockets"] == 0)
    before = server.state()["fds"]
    held = []
    for i in range(100):
        c = server.connect()
        assert c.upgrade().status == 101
        held.append(c)
    for i, c in enumerate(held):
        c.ws_send(b"%03d" % i)
    assert all(c.ws_bytes(3) == b"%03d" % i for i, c in enumerate(held))
    assert server.state()["websockets"] == 100
    for i, c in enumerate(held):
        if i % 2:
            c.ws_send(b"\x03\xe8", opcode=8)
            assert c.ws_closed()[0] == 1000
        c.close()
    eventually(lambda: server.state()["websockets"] == 0)
    eventually(lambda: server.state()["fds"] <= before)
    state = server.state()
    assert state["sources"] == 0 and state["in_flight"] == 1


def test_fragments_make_one_message(c):
    c.upgrade()
    c.ws_send("kä".encode()[:2], opcode=1, fin=False)
    c.ws_send(b"", opcode=9)  # a ping may come between
    c.ws_send("kä".encode()[2:], opcode=0, fin=False)
    c.ws_send(b"", opcode=0, fin=False)
    c.ws_send(b"se", opcode=0)
    while (frame := c.ws_frame())[0] in (9, 10):
        pass
    assert frame == (1, "käse".encode())
    c.ws_send(b"ab", opcode=2, fin=False)
    c.ws_send(b"cd", opcode=0)
    assert c.ws_bytes(4) == b"abcd"


def test_an_empty_message_is_harmless(c):
    c.upgrade()
    c.ws_send(b"", opcode=1)
    c.ws_send(b"", opcode=2)
    c.ws_send(b"x")
    assert c.ws_bytes(1) == b"x"


@pytest.mark.parametrize("n", [65537, 1 << 20, 1 << 40])
@pytest.mark.parametrize("opcode", [1, 2])
def test_an_oversized_frame_closes_the_socket(c, n, opcode):
    c.upgrade()
    c.send(Connection.frame(b"x" * 5000, opcode=opcode, length=n)[: 14 + 5000])
    assert c.ws_closed()[0] == 1009


def test_a_text_message_in_fragments_has_the_same_limit(c):
    c.upgrade()
    c.ws_send(b"x" * 40000, opcode=1, fin=False)
    c.ws_send(b"x" * 40000, opcode=0)
    assert c.ws_closed()[0] == 1009


@pytest.mark.parametrize(
    "frame",
    [
        Connection.frame(b"x", opcode=3),
        Connection.frame(b"x", opcode=11),
        Connection.frame(b"x", rsv=1),
        Connection.frame(b"x", rsv=4),
        Connection.frame(b"x", opcode=0),
        Connection.frame(b"x" * 126, opcode=9),
        Connection.frame(b"x", opcode=9, fin=False),
        Connection.frame(b"\xff\xfe", opcode=1),
        Connection.frame(b"\x03", opcode=8),
        Connection.frame(b"x", length=(1 << 63) + 5),
    ],
    ids=["opcode3", "opcode11", "rsv1", "rsv3", "continuation-first", "long-ping", "fragmented-ping", "bad-utf8", "short-close", "huge"],
)
def test_a_bad_frame_ends_the_socket(server, c, frame):
    c.upgrade()
    c.send(frame)
    assert c.is_closed()
    assert server.request("GET", "/v1/vms/x").status == 200


@pytest.mark.parametrize("opcode", [1, 2])
def test_a_frame_without_a_mask_is_taken_as_it_is(c, opcode):
    """RFC 6455 wants it refused; libwebsockets does not look. Masks protect proxies, not servers."""
    c.upgrade()
    c.send(Connection.frame(b"no mask", opcode=opcode, mask=False))
    assert c.ws_bytes(7, opcode=opcode) == b"no mask"
    c.ws_send(b"a mask")
    assert c.ws_bytes(6) == b"a mask"


def test_every_mask_is_undone(c):
    c.upgrade()
    for key in (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x00\xff\x80\x01"):
        for n in (1, 3, 4, 5, 1000):
            payload = os.urandom(n)
            head = bytes([0x82, 0x80 | n]) if n < 126 else bytes([0x82, 0x80 | 126]) + n.to_bytes(2, "big")
            c.send(head + key + bytes(b ^ key[i % 4] for i, b in enumerate(payload)))
            assert c.ws_bytes(n) == payload


@pytest.mark.parametrize("text", [b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"k\xc3"],
                         ids=["overlong", "surrogate", "beyond", "cut"])
def test_text_that_is_no_utf8_ends_with_1007(server, text):
    with server.connect() as c:
        c.upgrade()
        c.ws_send(text, opcode=1)
        assert c.ws_closed()[0] == 1007


def test_pings_in_masses_cost_nothing(own):
    """From a client that reads no answer; another one is served meanwhile."""
    server = own()
    with server.connect() as flooding, server.connect() as other:
        flooding.upgrade()
        other.upgrade()
        batch = Connection.frame(b"p" * 125, opcode=9) * 500
        flooding.send(batch)
        before, sent = server.state()["heap_kib"], 0
        flooding.sock.settimeout(0.5)
        while sent < 32 << 20:
            try:
                flooding.send(batch)
                sent += len(batch)
            except OSError:  # it does not take more
                break
            if sent % (100 * len(batch)) == 0:
                other.ws_send(b"x")
                assert other.ws_bytes(1) == b"x"
        assert sent > 1 << 20
        assert server.state()["heap_kib"] < before + 512
        other.ws_send(b"still")
        assert other.ws_bytes(5) == b"still"


def test_a_single_byte_at_a_time(c):
    c.upgrade()
    for byte in Connection.frame(b"slowly typed, one byte of the frame at a time"):
        c.send(bytes([byte]))
    assert c.ws_bytes(45) == b"slowly typed, one byte of the frame at a time"


def test_a_source_that_ends_says_why(c):
    c.upgrade("/v1/vms/bye/console")
    assert c.ws_frame() == (2, b"hello")
    assert c.ws_closed() == (4001, "so long")
    assert c.is_closed()


def test_a_full_source_stops_the_reading_and_loses_nothing(server, c):
    c.upgrade("/v1/vms/slow/console")
    payload = os.urandom(150000)
    got = []
    reader = threading.Thread(target=lambda: got.append(c.ws_bytes(len(payload))))
    reader.start()
    for at in range(0, len(payload), 30000):
        c.ws_send(payload[at : at + 30000])
    reader.join(30)
    assert got == [payload]


def test_typing_where_nobody_listens_is_ignored(c):
    c.upgrade("/v1/events?count=3&every_ms=100")
    c.ws_send(b"x" * 1000)
    assert c.ws_frame()[0] == 1


def test_pings_keep_the_socket_and_find_the_dead(own):
    s = own("--ping", "2")
    with s.connect() as alive, s.connect() as dead:
        alive.upgrade()
        dead.upgrade()
        opcode, payload = alive.ws_frame()
        assert opcode == 9
        alive.ws_send(payload, opcode=10)
        eventually(lambda: s.state()["websockets"] == 1 or pong(alive))
        assert dead.is_closed()
        alive.ws_send(b"x")
        assert alive.ws_bytes(1) == b"x"


def test_a_slow_line_is_not_taken_for_a_dead_one(own):
    """Output waits before it, the ping behind all of that; what counts is that it gets less."""
    ping = 2  # and the end after four seconds
    server = own("--ping", str(ping))
    with server.connect() as c:
        c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
        c.upgrade()
        block, sent = Connection.frame(b"x" * 60000), 0
        c.sock.settimeout(0.5)
        with pytest.raises(OSError):  # what comes back is not read, so in the end nothing more is taken
            while sent < 1 << 30:
                c.send(block)
                sent += len(block)
        c.sock.settimeout(15)
        until = time.monotonic() + 5 * ping
        while time.monotonic() < until:
            assert c.sock.recv(20000), "closed"
            select.select([], [], [], 0.08)  # a line of 250 KB/s
        assert server.state()["websockets"] == 1


def pong(c):
    """Answers pings that have come; never true."""
    c.sock.settimeout(0.05)
    try:
        opcode, payload = c.ws_frame()
        if opcode == 9:
            c.ws_send(payload, opcode=10)
    except socket.timeout:
        pass
    c.sock.settimeout(15)
    return False


def test_a_slow_reader_costs_no_memory_and_is_dropped(server):
    with server.connect() as c:
        before = server.state()["rss_kib"]
        c.upgrade("/v1/vms/flood/console")
        started = time.monotonic()
        peak = 0
        while time.monotonic() - started < 1.5:
            peak = max(peak, server.state()["rss_kib"])
        assert peak < before + 16384
        assert c.ws_closed() == (1013, "too slow")
    eventually(lambda: server.state()["sources"] == 0)


def test_a_flood_passes_when_it_is_read(c):
    c.upgrade("/v1/vms/flood/console")
    total = 0
    started = time.monotonic()
    while total < 20 << 20:
        kind, payload = c.ws_frame()
        assert kind == 2
        total += len(payload)
    assert time.monotonic() - started < 50

# ---- stopping ----


def test_stopping_with_a_hundred_parked_requests_is_quick(own):
    s = own("request_workers=2")
    held = [s.connect() for _ in range(100)]
    for c in held:
        c.send(c.head("POST", "/v1/park?timeout_ms=600000", {}))
    eventually(lambda: s.state()["parked"] == 100)
    assert s.stop() < 15
    assert all(c.answer().code == "shutting-down" for c in held)


def test_stopping_ends_streams_and_sockets(own):
    s = own()
    with s.connect() as ws, s.connect() as stream, s.connect() as idle, s.connect() as upload:
        ws.upgrade()
        stream.send(stream.head("GET", "/v1/events?count=1000000&every_ms=50", {"Accept": "text/event-stream"}))
        stream.answer(stream=True)
        idle.request("GET", "/v1/public")
        upload.send(upload.head("PUT", "/v1/upload", {"Content-Length": 1 << 20}) + b"x" * 200000)
        took = []
        stopper = threading.Thread(target=lambda: took.append(s.stop()))
        stopper.start()
        assert ws.ws_closed() == (1001, "The daemon is stopping.")
        ws.ws_send(b"\x03\xe9", opcode=8)
        list(stream.chunks())
        assert idle.is_closed()
        stopper.join(60)
        assert took and took[0] < 15


def test_stopping_does_not_wait_for_a_silent_peer(own):
    s = own()
    held = [s.connect() for _ in range(20)]
    for c in held:
        c.upgrade("/v1/vms/flood/console")
    assert s.stop() < 15


def test_starting_and_stopping_many_times(tmp_path):
    for _ in range(10):
        s = Server(tmp_path)
        assert s.request("GET", "/v1/vms/x").status == 200
        assert s.stop() < 15


def test_a_stale_unix_socket_is_replaced_and_a_live_one_respected(own, tmp_path):
    s = own()
    s.process.kill()
    s.process.wait()
    assert os.path.exists(s.unix)
    again = own()
    with again.connect(unix=True) as c:
        assert c.request("GET", "/v1/public").status == 200
    with pytest.raises(AssertionError, match="Another daemon"):
        Server(tmp_path, level="--quiet")
    assert oct(os.stat(again.unix).st_mode & 0o777) == "0o660"
    again.stop()
    assert not os.path.exists(again.unix)


@in_clear
def test_the_network_is_not_opened_by_accident(tmp_path):
    with pytest.raises(AssertionError, match="no TLS"):
        Server(tmp_path, "listen=0.0.0.0:0")
    s = Server(tmp_path, "listen=0.0.0.0:0", "insecure_listen=true")
    s.stop()
