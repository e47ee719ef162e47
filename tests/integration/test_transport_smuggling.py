"""The transport: no shape of a header hides a second request."""

import socket

import pytest

from smuggling import SHAPES
from transport import in_clear, c, own, server  # noqa: F401

SMUGGLED = b"GET /v1/vms/smuggled HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer admin-token\r\n\r\n"


@pytest.mark.parametrize("shape", SHAPES, ids=lambda name: name.replace(" ", "-"))
def test_a_smuggling_shape_is_refused_and_the_connection_closed(server, shape):
    before = server.state()["routes"]["getVm"]
    with server.connect() as c:
        c.send(SHAPES[shape] + SMUGGLED)
        try:
            c.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        answers = b""
        try:
            while c.more():
                pass
        except ConnectionResetError:
            pass
        answers = c.buffer
        statuses = [int(part[:3]) for part in answers.split(b"HTTP/1.1 ")[1:]]
        # Where libmicrohttpd does not even parse, it closes without a word, or with its own words
        # (and 0.9.75 sends the header of some of its own answers twice).
        assert len(statuses) <= 2 and all(400 <= s < 500 or s == 505 for s in statuses), answers
    assert server.state()["routes"]["getVm"] == before


@in_clear
def test_most_shapes_get_a_problem_document(server):
    silent = set()
    for name, shape in SHAPES.items():
        with server.connect() as c:
            c.send(shape)
            try:
                c.sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # it has answered and gone already; what it said is still to be read
            try:
                while c.more():
                    pass
            except OSError:
                pass
            if b"application/problem+json" not in c.buffer:
                silent.add(name)
    assert len(silent) <= 14, silent
