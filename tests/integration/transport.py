"""A raw HTTP and WebSocket client, and the transport's test daemon, for test_transport_*.py.

Deliberately no HTTP library: the tests send what no library would.
"""

import base64
import hashlib
import json
import os
import re
import select
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

import pytest

from certificates import Authority

ROOT = Path(__file__).resolve().parents[2]
# With DROVER_TEST_TLS all of these tests go through the TLS front.
TLS = bool(os.environ.get("DROVER_TEST_TLS"))
# With DROVER_TEST_FRONT they go through the front, a process of its own.
FRONT = bool(os.environ.get("DROVER_TEST_FRONT"))
# What is different there, or cannot be seen through Python's own TLS; test_tls.py has its own of these.
in_clear = pytest.mark.skipif(TLS, reason="another thing over TLS")
BUILD = Path(os.environ.get("DROVER_BUILD", ROOT / "build"))
BINARY = BUILD / "tests/unit/api/test_server"
TOKEN = "admin-token"
AUTH = {"Authorization": f"Bearer {TOKEN}"}


def eventually(what, seconds=30):
    """The first true value of what(), polled; fails after the deadline."""
    until = time.monotonic() + seconds
    while True:
        value = what()
        if value:
            return value
        assert time.monotonic() < until, "not within the deadline"
        select.select([], [], [], 0.01)


class Server:
    def __init__(self, directory, *args, level="--quiet"):
        self.unix = str(directory / "s.sock")
        self.log = open(directory / "log", "w+b")
        # What AddressSanitizer holds back, and its second stack for each thread, would look like growth to the
        # tests that measure it.
        mild = ":quarantine_size_mb=1:detect_stack_use_after_return=0"
        env = {**os.environ, "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + mild}
        self.authority = None
        if TLS and not any(a.startswith("tls_") for a in args):
            self.authority = Authority(directory)
            certificate, key = self.authority.issue("localhost")
            args = (f"tls_certificate={certificate}", f"tls_key={key}", *args)
        env.setdefault("DROVER_FRONT", str(BUILD / "drover-front")) # which is not beside this program
        if FRONT:
            args = ("network_process=always", *args)
        self.process = subprocess.Popen(
            [BINARY, level, "--unix", self.unix, *args], stdout=subprocess.PIPE, stderr=self.log, text=True, env=env
        )
        line = self.process.stdout.readline()
        assert line.startswith("listening "), self.log_text()
        host, port = line.split()[1].rsplit(":", 1)
        self.address = (host, int(port))

    def log_text(self):
        self.log.flush()
        self.log.seek(0)
        return self.log.read().decode(errors="replace")

    def connect(self, unix=False):
        return Connection(self, unix)

    def request(self, method, path, body=None, headers=None, **more):
        with self.connect() as c:
            return c.request(method, path, body, headers, **more)

    def state(self):
        return self.request("GET", "/v1/state").json

    def stop(self):
        """SIGTERM; returns the seconds it took. Sanitizer findings fail here."""
        if self.process.poll() is not None:
            return 0
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        out = self.process.communicate(timeout=60)[0]
        took = time.monotonic() - started
        text = self.log_text()
        assert self.process.returncode == 0, text
        assert "Sanitizer" not in text and "runtime error" not in text, text
        assert "stopped sources=0" in out, out
        return took


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        """The problem's code; also proves that it is a problem document."""
        assert self.headers["content-type"] == "application/problem+json", self.body
        document = self.json
        assert document["status"] == self.status
        assert document["type"] == "/problems/" + document["code"]
        return document["code"]


class Connection:
    def __init__(self, server, unix=False):
        self.sock = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
        self.sock.settimeout(30)
        self.sock.connect(server.unix if unix else server.address)
        if server.authority and not unix:
            self.sock = server.authority.context().wrap_socket(self.sock, server_hostname="localhost")
        self.host = "%s:%d" % server.address
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def close(self):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def head(self, method, path, headers, auth=True):
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.host}"]
        lines += [f"{k}: {v}" for k, v in ({**AUTH, **headers} if auth else headers).items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def request(self, method, path, body=None, headers=None, auth=True):
        headers = dict(headers or {})
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        if body is not None:
            headers.setdefault("Content-Length", len(body))
        self.send(self.head(method, path, headers, auth) + (body or b""))
        return self.answer(head_only=method == "HEAD")

    def more(self):
        data = self.sock.recv(65536)
        self.buffer += data
        return data

    def until(self, mark):
        while mark not in self.buffer:
            if not self.more():
                raise EOFError(f"connection closed after {self.buffer!r}")
        found, self.buffer = self.buffer.split(mark, 1)
        return found

    def exactly(self, n):
        while len(self.buffer) < n:
            if not self.more():
                raise EOFError
        found, self.buffer = self.buffer[:n], self.buffer[n:]
        return found

    def answer(self, head_only=False, stream=False):
        lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        status = int(re.match(r"HTTP/1\.1 (\d{3})", lines[0])[1])
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines[1:])}
        if status == 100:
            return self.answer(head_only, stream)
        if head_only or stream or status in (101, 204):
            return Answer(status, headers, b"")
        if headers.get("transfer-encoding") == "chunked":
            return Answer(status, headers, b"".join(self.chunks()))
        return Answer(status, headers, self.exactly(int(headers["content-length"])))

    def chunks(self):
        while True:
            size = int(self.until(b"\r\n"), 16)
            data = self.exactly(size)
            self.until(b"\r\n")
            if not size:
                return
            yield data

    def is_closed(self, seconds=30):
        """The server closes within the time, whatever it still sends."""
        self.sock.settimeout(seconds)
        try:
            while self.more():
                pass
        except ConnectionResetError:
            pass
        except socket.timeout:
            return False
        return True

    # ---- WebSocket ----

    def upgrade(self, path="/v1/vms/a/console", headers=None, auth=True, drop=()):
        key = base64.b64encode(os.urandom(16)).decode()
        wanted = {
            "Upgrade": "websocket",
            "Connection": "keep-alive, Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": key,
            **(headers or {}),
        }
        self.send(self.head("GET", path, {k: v for k, v in wanted.items() if k not in drop}, auth))
        answer = self.answer()
        if answer.status == 101:
            accept = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
            assert answer.headers["sec-websocket-accept"] == base64.b64encode(accept).decode()
            assert "sec-websocket-extensions" not in answer.headers
        return answer

    @staticmethod
    def frame(payload, opcode=2, fin=True, mask=True, rsv=0, length=None):
        n = len(payload) if length is None else length
        first = (0x80 if fin else 0) | rsv << 4 | opcode
        flag = 0x80 if mask else 0
        if n < 126:
            head = struct.pack("!BB", first, flag | n)
        elif n < 65536:
            head = struct.pack("!BBH", first, flag | 126, n)
        else:
            head = struct.pack("!BBQ", first, flag | 127, n)
        if not mask:
            return head + payload
        key = b"\x11\x22\x33\x44"
        body = bytes(b ^ key[i & 3] for i, b in enumerate(payload))
        return head + key + body

    def ws_send(self, payload, **how):
        self.send(self.frame(payload, **how))

    def ws_frame(self):
        """(opcode, payload) of the next frame."""
        first, second = self.exactly(2)
        assert not second & 0x80, "a server does not mask"
        n = second & 0x7F
        if n == 126:
            n = struct.unpack("!H", self.exactly(2))[0]
        elif n == 127:
            n = struct.unpack("!Q", self.exactly(8))[0]
        return first & 0x0F, self.exactly(n)

    def ws_bytes(self, n, opcode=None):
        """n bytes of payload, from as many frames as it takes."""
        got = b""
        while len(got) < n:
            kind, payload = self.ws_frame()
            if kind == 9:
                self.ws_send(payload, opcode=10)
                continue
            assert kind in (1, 2), (kind, payload)
            assert opcode in (None, kind)
            got += payload
        assert len(got) == n
        return got

    def ws_closed(self):
        """The close code and reason, skipping data."""
        while True:
            kind, payload = self.ws_frame()
            if kind == 8:
                return struct.unpack("!H", payload[:2])[0], payload[2:].decode()


def cookie(**more):
    return {"Cookie": "other=1; drover_session=session-cookie", **more}


# ---- fixtures, imported by the test files ----


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    if not BINARY.exists():
        pytest.skip(f"{BINARY} is not built")
    s = Server(tmp_path_factory.mktemp("transport"), "--ping", "1")
    yield s
    s.stop()


@pytest.fixture
def own(tmp_path):
    """A factory of daemons with settings of their own."""
    if not BINARY.exists():
        pytest.skip(f"{BINARY} is not built")
    started = []

    def start(*args, **more):
        started.append(Server(tmp_path, *args, **more))
        return started[-1]

    yield start
    for s in started:
        s.stop()


@pytest.fixture
def c(server):
    with server.connect() as connection:
        yield connection
