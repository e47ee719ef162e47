#!/usr/bin/python3
"""What TLS costs: the same work over plain HTTP and over TLS, in turns, and nginx's own cost of the same beside it.

Requests of one VM, a file of the dashboard, an upload, and a console whose guest never stops printing. The
clients encrypt on the same processors, so that even a server for which TLS is free cannot show 100 %: nginx tells
what remains. wrk and nginx are looked for in PATH; without nginx there is no peer."""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import Daemon, Report, cpu_seconds, environment_seconds, free_port, median
from certificates import Authority
from daemon import eventually
from viewers import compare_consoles

ROUNDS, UPLOAD_MIB = 5, 512
SIDES = ("plain", "tls")


def program(name):
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")


# ---- what is measured ----

def requests_a_second(url, token, connections, seconds):
    done = subprocess.run([program("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", "-H", f"Authorization: Bearer {token}",
                           url], capture_output=True, text=True, timeout=seconds + 60, check=True)
    assert "Non-2xx" not in done.stdout and "Socket errors" not in done.stdout, done.stdout
    return float(re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)[1])


class Side:
    """One server, plain or not."""

    def __init__(self, base, pids, token=""):
        self.base, self.pids, self.token, self.rates, self.cpu = base, pids, token, [], []

    def measure(self, path, connections, seconds):
        before = sum(map(cpu_seconds, self.pids))
        self.rates.append(requests_a_second(self.base + path, self.token, connections, seconds))
        self.cpu.append(1e6 * (sum(map(cpu_seconds, self.pids)) - before) / (self.rates[-1] * seconds))


def compare(report, what, servers, path, connections):
    """servers: {name: {"plain": Side, "tls": Side}}"""
    seconds = int(max(1, environment_seconds(2)))
    for sides in servers.values():
        for side in sides.values():
            side.rates, side.cpu = [], []
    for _ in range(ROUNDS):
        for sides in servers.values():
            for side in SIDES:
                sides[side].measure(path, connections, seconds)
    shares = {}
    for name, sides in servers.items():
        rate, cpu = ({s: median(getattr(sides[s], of)) for s in SIDES} for of in ("rates", "cpu"))
        shares[name] = 100 * median([t / p for p, t in zip(sides["plain"].rates, sides["tls"].rates)])
        report.note(f"{what}, {name}: {rate['plain']:.0f} requests/s plain, {rate['tls']:.0f} over TLS "
                    f"({shares[name]:.0f} %); CPU of the server {cpu['plain']:.1f} and {cpu['tls']:.1f} us each")
    report.target(f"{what}: over TLS, of plain", shares["droverd"], 75, "%", at_least=True)
    if "nginx" in shares:
        report.note(f"{what}: {shares['droverd'] / shares['nginx']:.2f} times nginx's share")


def tell_bound(report, size):
    """What no server can be better than: the cipher alone, which each side of a connection works."""
    told = subprocess.run(["openssl", "speed", "-elapsed", "-seconds", "1", "-bytes", "16384", "-evp", "aes-128-gcm"],
                          capture_output=True, text=True, timeout=60, check=True).stdout
    rate = 1000 * float(re.search(r"AES-128-GCM\s+([\d.]+)k", told)[1])
    report.note(f"the cipher alone: {rate / 1e6:.0f} MB/s of a processor, so {1e6 * size / rate:.1f} us of the server, and as "
                f"many of the client, for {size // 1000} kB")


# ---- nginx ----

CONF = """daemon off; worker_processes 1; pid {dir}/pid; error_log {dir}/error.log;
events {{ worker_connections 256; }}
http {{ access_log off; sendfile on; keepalive_requests 1000000000; client_body_temp_path {dir}/body;
proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi; uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
server {{ listen 127.0.0.1:{plain}; listen 127.0.0.1:{tls} ssl; root {dir}/root;
ssl_certificate {certificate}; ssl_certificate_key {key}; }} }}
"""


class Nginx:
    def __init__(self, where, certificate, key, files):
        ports = {side: free_port() for side in SIDES}
        for path, data in files.items():
            file = where / "root" / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        for folder in [where, where / "root", *(where / "root").rglob("*")]:
            folder.chmod(0o755)
        (where / "conf").write_text(CONF.format(dir=where, certificate=certificate, key=key, **ports))
        self.process = subprocess.Popen([program("nginx"), "-e", f"{where}/error.log", "-c", f"{where}/conf"])

        def workers():
            found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
            return [int(pid) for pid in found]
        eventually(workers, 20, "nginx's worker")
        self.sides = {s: Side(f"{'https' if s == 'tls' else 'http'}://127.0.0.1:{ports[s]}", workers()) for s in SIDES}

    def close(self):
        self.process.terminate()
        self.process.wait(20)


# ---- an upload ----

def upload_seconds(side, name, file, ca):
    head = ["curl", "-sS", "--fail-with-body", "--cacert", str(ca), "-H", f"Authorization: Bearer {side.token}"]
    subprocess.run([*head, "-H", "Content-Type: application/json", "-d",
                    f'{{"name":"{name}","kind":"disk","format":"raw"}}', f"{side.base}/v1/images"],
                   check=True, capture_output=True, timeout=60)
    done = subprocess.run([*head, "-T", str(file), "-o", "/dev/null", "-w", "%{time_total}",
                           f"{side.base}/v1/images/{name}/content"], check=True, capture_output=True, text=True, timeout=300)
    subprocess.run([*head, "-X", "DELETE", f"{side.base}/v1/images/{name}"], check=True, capture_output=True, timeout=60)
    return float(done.stdout)


def uploads(report, sides, where, ca):
    file = where / "bytes"
    with open(file, "wb") as out:
        for _ in range(UPLOAD_MIB):
            out.write(os.urandom(1 << 20))
    took = {side: [] for side in SIDES}
    for number in range(ROUNDS):
        for side in SIDES:
            took[side].append(upload_seconds(sides[side], f"bytes-{number}-{side}", file, ca))
    rate = {side: UPLOAD_MIB * 1.048576 / median(took[side]) for side in SIDES}
    report.note(f"upload: {rate['plain']:.0f} MB/s plain, {rate['tls']:.0f} MB/s over TLS")
    report.target("upload: over TLS, of plain", 100 * rate["tls"] / rate["plain"], 75, "%", at_least=True)


def main():
    report = Report("tls")
    if not program("wrk"):
        report.note("wrk is not installed: not measured")
        report.end()
    with tempfile.TemporaryDirectory() as name:
        where = Path(name)
        where.chmod(0o755)
        authority = Authority(where)
        certificate, key = authority.issue("localhost")
        tls = {"tls_certificate": str(certificate), "tls_key": str(key)}
        with Daemon(libvirt="test:///default") as plain, \
                Daemon(libvirt="test:///default", settings=tls, context=authority.context()) as over_tls:
            for daemon in (plain, over_tls):
                answer = daemon.client().post("/v1/vms", {"name": "web-1", "memory_mib": 64})
                assert answer.status == 201, answer
            page = plain.client(token=None).get("/").text
            script = max(re.findall(r'(?:src|href)="(/[^"]+\.(?:js|css))"', page),
                         key=lambda path: len(plain.client(token=None).get(path).body))
            files = {"/v1/vms/web-1": plain.client().get("/v1/vms/web-1").body,
                     script: plain.client(token=None).get(script).body}
            sides = {"plain": Side(plain.url, [plain.pid], plain.admin_token()),
                     "tls": Side(over_tls.url, [over_tls.pid], over_tls.admin_token())}
            servers, nginx = {"droverd": sides}, None
            if program("nginx"):
                nginx = Nginx(where, certificate, key, files)
                servers["nginx"] = nginx.sides
            try:
                compare(report, f"{len(files['/v1/vms/web-1'])} bytes", servers, "/v1/vms/web-1", 16)
                compare(report, f"{len(files[script]) // 1000} kB", servers, script, 4)
                tell_bound(report, len(files[script]))
            finally:
                if nginx:
                    nginx.close()
            uploads(report, sides, where, authority.certificate)
        share = compare_consoles(report, {"plain": {}, "tls": {"settings": tls, "context": authority.context()}})
        report.target("a console: over TLS, of plain", share["tls"], 75, "%", at_least=True)
    report.end()


main()
