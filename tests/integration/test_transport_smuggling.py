"""The transport: no shape of a header hides a second request."""

import socket

import pytest

from transport import in_clear, c, own, server  # noqa: F401

SMUGGLED = b"GET /v1/vms/smuggled HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer admin-token\r\n\r\n"
HOST = b"Host: 127.0.0.1\r\n"
POST = b"POST /v1/public HTTP/1.1\r\n"
SHAPES = {
    "two lengths": POST + HOST + b"Content-Length: 2\r\nContent-Length: 80\r\n\r\n{}",
    "two equal lengths": POST + HOST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "length list": POST + HOST + b"Content-Length: 2, 2\r\n\r\n{}",
    "length and chunked": POST + HOST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and length": POST + HOST + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
    "two codings": POST + HOST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "xchunked": POST + HOST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "gzip, chunked": POST + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked with a tab": POST + HOST + b"Transfer-Encoding:\tchunked \r\n\r\n0\r\n\r\n",
    "chunked in 1.0": b"POST /v1/public HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "space before colon": POST + HOST + b"Content-Length : 2\r\n\r\n{}",
    "tab before colon": POST + HOST + b"Content-Length\t: 2\r\n\r\n{}",
    "two hosts": POST + HOST + b"Host: evil.example\r\nContent-Length: 2\r\n\r\n{}",
    "no host": b"GET /v1/public HTTP/1.1\r\n\r\n",
    "empty host": b"GET /v1/public HTTP/1.1\r\nHost:\r\n\r\n",
    "host with path": b"GET /v1/public HTTP/1.1\r\nHost: 127.0.0.1/x\r\n\r\n",
    "folded line": POST + HOST + b"X-A: b\r\n Content-Length: 80\r\nContent-Length: 2\r\n\r\n{}",
    "folded with a tab": POST + HOST + b"X-A: b\r\n\tc\r\nContent-Length: 2\r\n\r\n{}",
    "bare LF header": b"GET /v1/public HTTP/1.1\r\nHost: 127.0.0.1\nX-A: b\r\n\r\n",
    "bare LF request line": b"GET /v1/public HTTP/1.1\nHost: 127.0.0.1\r\n\r\n",
    "bare LF everywhere": b"GET /v1/public HTTP/1.1\nHost: 127.0.0.1\n\n",
    "bare LF at the end": b"GET /v1/public HTTP/1.1\r\nHost: 127.0.0.1\r\n\n",
    "bare LF before the end": b"GET /v1/public HTTP/1.1\r\nHost: 127.0.0.1\n\r\n",
    "bare CR": b"GET /v1/public HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: b\rX-B: c\r\n\r\n",
    "NUL in the path": b"GET /v1/public\0x HTTP/1.1\r\n" + HOST + b"\r\n",
    "NUL in a value": b"GET /v1/public HTTP/1.1\r\n" + HOST + b"X-A: b\0c\r\n\r\n",
    "NUL in a name": b"GET /v1/public HTTP/1.1\r\n" + HOST + b"X-\0A: b\r\n\r\n",
    "control byte in a value": b"GET /v1/public HTTP/1.1\r\n" + HOST + b"X-A: b\x01c\r\n\r\n",
    "8-bit name": b"GET /v1/public HTTP/1.1\r\n" + HOST + b"X-\xe4: b\r\n\r\n",
    "empty name": b"GET /v1/public HTTP/1.1\r\n" + HOST + b": b\r\n\r\n",
    "two spaces": b"GET  /v1/public HTTP/1.1\r\n" + HOST + b"\r\n",
    "version with a tail": b"GET /v1/public HTTP/1.1 \r\n" + HOST + b"\r\n",
    "tab in the request line": b"GET\t/v1/public\tHTTP/1.1\r\n" + HOST + b"\r\n",
    "absolute address": b"GET http://127.0.0.1/v1/public HTTP/1.1\r\n" + HOST + b"\r\n",
    "sign in the length": POST + HOST + b"Content-Length: +2\r\n\r\n{}",
    "negative length": POST + HOST + b"Content-Length: -2\r\n\r\n{}",
    "hex length": POST + HOST + b"Content-Length: 0x2\r\n\r\n{}",
    "length past 64 bits": POST + HOST + b"Content-Length: 99999999999999999999\r\n\r\n{}",
    "two credentials": b"GET /v1/vms/x HTTP/1.1\r\n" + HOST + b"Authorization: Bearer x\r\nAuthorization: Bearer admin-token\r\n\r\n",
    "two origins": POST + HOST + b"Origin: http://127.0.0.1\r\nOrigin: https://evil\r\nContent-Length: 2\r\n\r\n{}",
    "unknown expectation": POST + HOST + b"Expect: 200-maybe\r\nContent-Length: 2\r\n\r\n{}",
    "version 2": b"GET /v1/public HTTP/2.0\r\n" + HOST + b"\r\n",
    "no version": b"GET /v1/public\r\n" + HOST + b"\r\n",
    "no colon": b"GET /v1/public HTTP/1.1\r\n" + HOST + b"nonsense\r\n\r\n",
    "101 headers": b"GET /v1/public HTTP/1.1\r\n" + HOST + b"X-A: b\r\n" * 100 + b"\r\n",
    "40 kB of headers": b"GET /v1/public HTTP/1.1\r\n" + HOST + (b"X-A: " + b"b" * 1000 + b"\r\n") * 40 + b"\r\n",
    "40 kB of address": b"GET /" + b"a" * 40000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
}


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
