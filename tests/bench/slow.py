#!/usr/bin/python3
"""A good client beside 1,000 slow ones, over plain HTTP, over TLS, and over TLS with a process for the network: how
long it waits, and what they cost in memory.

Slow headers and bodies (a byte a second), readers who ask for much and read nothing, clients who stay without a
request, and with TLS handshakes that are begun and not ended. Who is cut at his deadline comes again at once. All
limits are the defaults; the clients have ten addresses of 127.0.0.0/8. The good client is measured in turns with
them attached and without."""
import os
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import Daemon, Report, cpu_seconds, environment_seconds, median, percentile, processes
from certificates import Authority
from daemon import eventually

SLOW, ROUNDS, RATE = 1000, 5, 200
KINDS = {"http": ("headers", "bodies", "readers", "idle"), "https": ("headers", "bodies", "readers", "idle", "handshakes")}
HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32)


# ---- the slow ones: a process of their own ----

class Slow:
    def __init__(self, number, kind, address, context, token, large):
        self.kind, self.address, self.context, self.sock = kind, address, context, None
        self.source = (f"127.0.{1 + number % 10}.1", 0)
        host = f"Host: {address[0]}:{address[1]}\r\nAuthorization: Bearer {token}\r\n"
        self.first = {"headers": f"GET /v1/vms HTTP/1.1\r\n{host}X-Slow: ",
                      "bodies": f"POST /v1/vms HTTP/1.1\r\n{host}Content-Type: application/json\r\n"
                                "Content-Length: 60000\r\n\r\n{\"name\":\"",
                      "readers": f"GET {large} HTTP/1.1\r\n{host}\r\n" * 20,
                      "idle": f"GET /v1/vms HTTP/1.1\r\n{host}\r\n", "handshakes": ""}[kind].encode()

    def attach(self):
        sock = socket.socket()
        if self.kind == "readers":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(20)
        sock.bind(self.source)
        sock.connect(self.address)
        if self.kind == "handshakes":
            sock.sendall(HELLO)
        elif self.context:
            sock = self.context.wrap_socket(sock, server_hostname="localhost")
        sock.sendall(self.first)
        if self.kind == "idle":
            assert sock.recv(65536).startswith(b"HTTP/1.1 200")
        sock.setblocking(False)
        self.sock = sock

    def turn(self):
        try:
            if not self.sock:
                self.attach()
            elif self.kind in ("headers", "bodies"):
                self.sock.send(b"a")
            elif self.kind != "readers" and self.sock.recv(65536) == b"":
                raise ConnectionResetError
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError:
            if self.sock:
                self.sock.close()
            self.sock = None


def attack(scheme, host, port, ca, token, large):
    context = ssl.create_default_context(cafile=ca) if scheme == "https" else None
    kinds = KINDS[scheme]
    clients = [Slow(n, kinds[n % len(kinds)], (host, int(port)), context, token, large) for n in range(SLOW)]
    for client in clients:
        client.turn()
    print("attached", flush=True)
    while True:
        begun = time.monotonic()
        for number, client in enumerate(clients):
            client.turn()
            if number % 50 == 49: # a second's work in pieces, so that it is no burst
                time.sleep(max(0, begun + (number + 1) / SLOW - time.monotonic()))


# ---- the good one ----

def waits(daemon, path, seconds):
    """Milliseconds of each request, from the moment it was due, on a connection that is kept."""
    host, port = daemon.address.rsplit(":", 1)
    sock = socket.create_connection((host, int(port)), timeout=30)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if daemon.context:
        sock = daemon.context.wrap_socket(sock, server_hostname="localhost")
    request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {daemon.admin_token()}\r\n\r\n".encode()
    took, due, end = [], time.monotonic(), time.monotonic() + seconds
    while due < end:
        time.sleep(max(0, due - time.monotonic()))
        sock.sendall(request)
        got = b""
        while b"\r\n\r\n" not in got:
            got += sock.recv(65536)
        assert got.startswith(b"HTTP/1.1 200"), got[:300]
        head, body = got.split(b"\r\n\r\n", 1)
        left = int(re.search(rb"(?i)content-length: (\d+)", head)[1]) - len(body)
        while left > 0:
            left -= len(sock.recv(65536))
        took.append(1000 * (time.monotonic() - due))
        due += 1 / RATE
    sock.close()
    return took


def resident_kib(pids):
    return sum(int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) for pid in pids)


def spent_seconds(pids):
    return sum(map(cpu_seconds, pids))


def connections(daemon):
    text = daemon.socket_client().get("/metrics").text
    return int(float(re.search(r"^drover_http_connections (\S+)", text, re.M)[1]))


def measure(report, scheme, front, where):
    what = f"{scheme}{', through the front' if front else ''}"
    settings, context, ca = {}, None, ""
    if scheme == "https":
        authority = Authority(where)
        certificate, key = authority.issue("localhost")
        settings, context, ca = {"tls_certificate": certificate, "tls_key": key}, authority.context(), authority.certificate
    settings["network_process"] = "always" if front else "never"
    seconds = environment_seconds(3)
    with Daemon(libvirt="test:///default", settings=settings, context=context) as daemon:
        assert daemon.client().post("/v1/vms", {"name": "web-1", "memory_mib": 64}).status == 201
        page = daemon.client(token=None).get("/").text
        large = max(re.findall(r'(?:src|href)="(/[^"]+\.(?:js|css))"', page),
                    key=lambda path: len(daemon.client(token=None).get(path).body))
        host, port = daemon.address.rsplit(":", 1)
        waits(daemon, "/v1/vms/web-1", 1)
        pids = processes(daemon.pid)
        alone, beside, grown, attached, cpu = [], [], [], [], []
        for _ in range(ROUNDS):
            alone.append(percentile(waits(daemon, "/v1/vms/web-1", seconds), 0.99))
            before = resident_kib(pids)
            command = [sys.executable, __file__, "attack", scheme, host, port, ca, daemon.admin_token(), large]
            with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True) as slow:
                try:
                    assert slow.stdout.readline() == "attached\n"
                    eventually(lambda: connections(daemon) > 0.95 * SLOW, 30, "nearly all of them at once")
                    used, begun = spent_seconds(pids), time.monotonic()
                    beside.append(percentile(waits(daemon, "/v1/vms/web-1", seconds), 0.99))
                    cpu.append(100 * (spent_seconds(pids) - used) / (time.monotonic() - begun))
                    grown.append((resident_kib(pids) - before) / 1024)
                    attached.append(connections(daemon))
                finally:
                    slow.kill()
            eventually(lambda: connections(daemon) < 20, 90, "their end")
        report.note(f"{what}: {median(attached):.0f} connections; daemon's CPU with them and the good client "
                    f"{median(cpu):.1f} % of a processor; p99 without them {median(alone):.2f} ms; memory after each round "
                    f"{', '.join(f'{g:.1f}' for g in grown)} MiB more than before it")
        report.target(f"{what}: p99 of a good client beside {SLOW} slow ones", median(beside), 5, "ms")
        # The first round's growth: later ones find what the allocator kept.
        report.target(f"{what}: memory", max(grown), 32, "MiB")


def main():
    if sys.argv[1:2] == ["attack"]:
        attack(*sys.argv[2:])
    report = Report("slow")
    with tempfile.TemporaryDirectory() as name:
        where = Path(name)
        os.chmod(where, 0o755)
        for scheme, front in (("http", False), ("https", False), ("https", True)):
            measure(report, scheme, front, where)
    report.end()


main()
