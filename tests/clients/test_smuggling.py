"""Requests hidden in requests, through nginx, Caddy and HAProxy: whatever a proxy and the daemon make of one
client's bytes, the next client gets the answer to its own request."""
import json
import re

import pytest
from proxies import NAME, Caddy, Haproxy, Nginx
from smuggling import SHAPES
from test_proxies import Rest, behind  # noqa: F401  # pylint: disable=unused-import

PATIENCE = 0.25  # seconds for an answer to what may never get one
PATH = b"/v1/session"
# Left in the connection between proxy and daemon, it swallows the first line of whoever comes next.
HIDDEN = b"GET /v1/vms/smuggled HTTP/1.1\r\nX-Swallow: "
CODINGS = [b"Transfer-Encoding: chunked", b"Transfer-Encoding : chunked", b"Transfer-Encoding:\tchunked",
           b"Transfer-Encoding: xchunked", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x", b"X: y\nTransfer-Encoding: chunked",
           b" Transfer-Encoding: chunked", b"Transfer-Encoding: \x0bchunked", b"Transfer-Encoding: identity, chunked",
           b"Transfer_Encoding: chunked", b"TRANSFER-ENCODING: CHUNKED"]


def attacks():
    host = b"Host: " + NAME.encode() + b"\r\n"
    for name, shape in SHAPES.items():
        yield name, shape.replace(b"/v1/public", PATH).replace(b"Host: 127.0.0.1\r\n", host) + HIDDEN
    begin = b"POST " + PATH + b" HTTP/1.1\r\n" + host + b"Content-Type: application/json\r\n"
    for coding in CODINGS:
        # One of the two believes the length, the other the chunks.
        whole = b"0\r\n\r\n" + HIDDEN
        yield f"{coding!r}, length over all", begin + b"Content-Length: %d\r\n" % len(whole) + coding + b"\r\n\r\n" + whole
        chunk = b"%x\r\n%s\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN)
        size = chunk.index(b"\r\n") + 2
        yield f"{coding!r}, length of the chunk's head", begin + b"Content-Length: %d\r\n" % size + coding + b"\r\n\r\n" + chunk
    for size in (b"0;x=\n", b"00000000000000000", b"-0", b"0x0", b"10000000000000000", b"0\n", b"0\r"):
        yield f"chunk of {size!r}", begin + b"Transfer-Encoding: chunked\r\n\r\n" + size + b"\r\n\r\n" + HIDDEN
    yield "upgrade that is none", b"GET /v1/host HTTP/1.1\r\n" + host + b"Connection: Upgrade\r\nUpgrade: websocket\r\n" \
        b"Sec-WebSocket-Version: 7\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n" + HIDDEN


def say(proxy, data):
    """What came back within PATIENCE."""
    with proxy.connect() as sock:
        sock.settimeout(PATIENCE)
        try:
            sock.sendall(data)
            return sock.recv(65536)
        except OSError:
            return b""


def served(rig):
    """Requests for one VM that the daemon has answered, whatever the answer."""
    found = re.findall(r'^drover_http_requests_total{[^}]*route="/v1/vms/{vm}"[^}]*} (\d+)$', rig.api.get("/metrics").text, re.M)
    return sum(map(int, found))


@pytest.mark.parametrize("kind", [Nginx, Caddy, Haproxy])
def test_the_next_client_gets_its_own_answer(behind, kind):  # noqa: F811
    rig, proxy = behind(kind)
    vm = rig.create(start=False)["id"]
    answered, tried, before = 0, 0, served(rig)
    victim = Rest(rig, proxy)
    for name, attack in attacks():
        answered += bool(say(proxy, attack))
        tried += 1
        for _ in range(2):
            victim.request("GET", f"/v1/vms/{vm}", headers={"Authorization": f"Bearer {victim.token}"})
            answer = victim.getresponse()
            body = answer.read()
            assert answer.status == 200 and json.loads(body)["id"] == vm, (name, answer.status, body)
    victim.close()
    assert answered > tried / 2, f"only {answered} of {tried} were answered at all: that tests little"
    assert served(rig) - before == 2 * tried, "none but the victims asked for a VM"
