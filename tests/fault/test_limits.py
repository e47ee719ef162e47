"""Too few descriptors, clients that take their time, clients that stay when it is over."""
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
from daemon import eventually
from invariants import events_are_gapless, quiet
from websocket import Refused, WebSocket

TICKS = 100  # of /proc/PID/stat, per second
FEW = 64


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def descriptors(pid):
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def address(daemon):
    host, _, port = daemon.address.rpartition(":")
    return host, int(port)


def connect(daemon, timeout=10):
    return socket.create_connection(address(daemon), timeout=timeout)


def set_descriptors(pid, count):
    subprocess.run(["prlimit", f"--pid={pid}", f"--nofile={count}:"], check=True)


def test_no_descriptor_left(make_daemon):
    """More connections than descriptors: none is lost track of, nothing spins, and it goes on afterwards."""
    daemon = make_daemon(libvirt="test:///default").start()
    api = daemon.client()
    base = descriptors(daemon.pid)
    set_descriptors(daemon.pid, max(FEW, base + 10))
    held = []
    for _ in range(150):
        held.append(connect(daemon))
    assert descriptors(daemon.pid) >= base
    before, start = cpu_seconds(daemon.pid), time.monotonic()
    eventually(lambda: time.monotonic() > start + 3, 5, "three seconds")
    used = (cpu_seconds(daemon.pid) - before) / (time.monotonic() - start)
    assert used < 0.05, f"{used:.0%} of a processor with nothing to do"
    # As soon as others leave, whoever waited is served, and he who comes, too.
    for sock in held[:-1]:
        sock.close()
    waiting = held[-1]
    waiting.settimeout(20)
    waiting.sendall(b"GET /livez HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % daemon.address.encode())
    assert waiting.recv(100).startswith(b"HTTP/1.1 200")
    waiting.close()
    assert api.get("/v1/vms").status == 200
    eventually(lambda: descriptors(daemon.pid) <= base + 2, 20, "the descriptors' being given back")
    set_descriptors(daemon.pid, 1024)


def test_churn_with_few_descriptors(make_daemon):
    """Clients and consoles come and go at the limit; each is served, refused or cut, never forgotten."""
    daemon = make_daemon(libvirt="test:///default").start()
    api = daemon.client()
    assert api.post("/v1/vms", {"name": "one", "memory_mib": 16, "start": True}, wait="running").status == 201
    base = descriptors(daemon.pid)
    set_descriptors(daemon.pid, max(FEW, base + 10))
    token, statuses, failures = daemon.admin_token(), set(), []
    end = time.monotonic() + 5

    def churn(number):
        while time.monotonic() < end:
            try:
                if number % 4 == 0:
                    with WebSocket(f"ws://{daemon.address}/v1/events", timeout=5,
                                   headers={"Authorization": f"Bearer {token}"}) as ws:
                        ws.close()
                elif number % 4 == 1:
                    with connect(daemon, 5) as sock:
                        sock.sendall(b"GET /v1/vms HTTP/1.1\r\nHo")
                else:
                    statuses.add(daemon.client().get("/v1/vms" if number % 2 else "/v1/operations", patience=5).status)
            except Refused as e:
                statuses.add(e.status)
            except (OSError, AssertionError, ConnectionError):
                pass
            except Exception as e:  # pylint: disable=broad-except
                failures.append(repr(e))

    threads = [threading.Thread(target=churn, args=(i,)) for i in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert not failures, failures[:3]
    assert statuses <= {200, 429, 500, 503}, statuses
    set_descriptors(daemon.pid, 1024)
    assert api.post("/v1/vms", {"name": "two", "memory_mib": 16}).status == 201
    quiet(api)
    eventually(lambda: descriptors(daemon.pid) <= base + 2, 20, "the descriptors' being given back")
    events_are_gapless(api)


# ---- a byte a second ----

SLOW = {"header_timeout_ms": 1500, "body_timeout_ms": 1500, "idle_timeout_ms": 3000}


class Dripper(threading.Thread):
    """Sends one byte at a time until it is cut; seconds tells when that was."""

    def __init__(self, daemon, first, drip):
        super().__init__(daemon=True)
        self.daemon_there, self.first, self.drip = daemon, first, drip
        self.seconds, self.answer = None, b""

    def run(self):
        start = time.monotonic()  # of the connection, too: the deadline that it is cut by begins there
        self.sock = connect(self.daemon_there, 20)
        try:
            self.sock.sendall(self.first)
            for byte in self.drip:
                self.sock.settimeout(0.2)
                try:
                    if not (got := self.sock.recv(4096)):
                        break
                    self.answer += got
                except TimeoutError:
                    pass
                self.sock.sendall(bytes([byte]))
        except OSError:
            self.answer += self.rest()
        self.seconds = time.monotonic() - start
        self.sock.close()

    def rest(self):
        """What had come before a byte was sent in vain."""
        try:
            return self.sock.recv(4096)
        except OSError:
            return b""


def drips(daemon):
    host, token = daemon.address, daemon.admin_token()
    head = f"POST /v1/vms HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n" \
           "Content-Type: application/json\r\n"
    return {
        "header": (b"", f"GET /livez HTTP/1.1\r\nHost: {host}\r\nX-Slow: {'x' * 200}".encode()),
        "body": (f"{head}Content-Length: 200\r\n\r\n".encode(), b'{"name":"slow","description":"' + b"x" * 170),
        "chunk": (f"{head}Transfer-Encoding: chunked\r\n\r\n".encode(), b"c8\r\n" + b"x" * 200),
        "websocket": (b"", f"GET /v1/events HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n"
                           f"Connection: Upgrade\r\nX-Slow: {'x' * 200}".encode()),
    }


@pytest.mark.parametrize("kind", ["header", "body", "chunk", "websocket"])
def test_a_byte_at_a_time(make_daemon, kind):
    """Cut at its deadline though it never falls silent; a good client does not notice."""
    daemon = make_daemon(libvirt="test:///default", settings=SLOW).start()
    api = daemon.client(token=None)
    base = descriptors(daemon.pid)
    slow = [Dripper(daemon, *drips(daemon)[kind]) for _ in range(50)]
    for dripper in slow:
        dripper.start()
    took = []
    while any(d.is_alive() for d in slow):
        start = time.monotonic()
        assert api.get("/livez").status == 200
        took.append(time.monotonic() - start)
        slow[0].join(0.02)
    took.sort()
    assert took[len(took) * 9 // 10] < 0.05, took[-5:]
    for dripper in slow:
        assert 1.3 < dripper.seconds < 5, dripper.seconds
        assert b" 408 " in dripper.answer.split(b"\r\n")[0], dripper.answer
    assert daemon.client().get("/v1/vms").json["items"] == []
    eventually(lambda: descriptors(daemon.pid) <= base + 2, 20, "the descriptors' being given back")


def test_a_client_that_does_not_read(make_daemon):
    """Asks for much and takes nothing: it is cut, and holds up nobody."""
    daemon = make_daemon(libvirt="test:///default", settings={"idle_timeout_ms": 2000}).start()
    base = descriptors(daemon.pid)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(5)
    sock.connect(address(daemon))
    request = f"GET /openapi.json HTTP/1.1\r\nHost: {daemon.address}\r\n\r\n".encode()
    with pytest.raises(OSError):
        end = time.monotonic() + 60
        while time.monotonic() < end:
            sock.sendall(request * 50)
            assert daemon.client(token=None).get("/livez").status == 200
    sock.close()
    assert daemon.client().get("/v1/vms").status == 200
    eventually(lambda: descriptors(daemon.pid) <= base + 2, 40, "the descriptors' being given back")
