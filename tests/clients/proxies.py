"""nginx, Caddy and HAProxy with the files of deploy/proxy, on free ports of loopback with a certificate of their own."""
import contextlib
import os
import random
import re
import shutil
import socket
import ssl
import subprocess
from pathlib import Path

from daemon import ROOT, eventually

PROXY = ROOT / "deploy/proxy"
NAME = "drover.example.org"


def free_port():
    """Below the range that the kernel draws from, so that no connection has got it when the proxy takes it."""
    for port in random.sample(range(20000, 32000), 1000):
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def replace(text, what, by):
    """Exactly once, so that an example that changes is noticed."""
    assert text.count(what) == 1, f"{what!r} is {text.count(what)} times in the example"
    return text.replace(what, by)


def certificate(directory):
    cert, key = directory / "cert.pem", directory / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-days", "2", "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}",
                    "-keyout", key, "-out", cert], check=True, capture_output=True, timeout=60)
    return cert, key


class Proxy:
    """Not started: its port must be known before the daemon's public_url is set."""

    program = None

    def __init__(self, directory):
        self.directory, self.port = Path(directory), free_port()
        self.cert, self.key = certificate(self.directory)
        self.process, self.upstream = None, None
        self.url = f"https://{NAME}:{self.port}"

    @classmethod
    def available(cls):
        return shutil.which(cls.program, path=os.environ["PATH"] + ":/usr/sbin")

    def start(self, upstream):
        """upstream: the daemon's address, ADDR:PORT."""
        self.upstream = upstream
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                            env={**os.environ, "HOME": str(self.directory)}, cwd=self.directory)
        eventually(self.answers, 60, f"{self.program} listening")
        return self

    def answers(self):
        assert self.process.poll() is None, (self.directory / "log").read_text(errors="replace")[-3000:]
        try:
            self.connect().close()
            return True
        except OSError:
            return False

    def tls(self):
        return ssl.create_default_context(cafile=self.cert)

    def plain(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def connect(self):
        return self.tls().wrap_socket(self.plain(), server_hostname=NAME)

    def upstream_ports(self):
        """Our ends of the established connections to the daemon that this proxy holds, by their port."""
        inodes = set()
        for pid in self.pids():
            for fd in Path(f"/proc/{pid}/fd").iterdir():
                try:
                    inodes.add(re.sub(r"socket:\[(\d+)\]", r"\1", os.readlink(fd)))
                except OSError:
                    pass
        host, port = self.upstream.rsplit(":", 1)
        ports = set()
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[2] == f"0100007F:{int(port):04X}" and fields[3] == "01" and fields[9] in inodes:
                ports.add(int(fields[1].split(":")[1], 16))
        assert host == "127.0.0.1"
        return ports

    def pids(self):
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [self.process.pid, *map(int, children)]

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Nginx(Proxy):
    program = "nginx"
    read_timeout = None  # nginx's default, 60 s

    def command(self):
        d = self.directory
        site = (PROXY / "nginx.conf").read_text()
        site = replace(site, "server 127.0.0.1:8460;", f"server {self.upstream};")
        site = replace(site, "listen 443 ssl http2;", f"listen 127.0.0.1:{self.port} ssl http2;")
        site = replace(site, "/etc/ssl/certs/drover.pem", str(self.cert))
        site = replace(site, "/etc/ssl/private/drover.key", str(self.key))
        (d / "site.conf").write_text(site)
        temporary = "".join(f"{kind}_temp_path {d}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        timeout = f"proxy_read_timeout {self.read_timeout}s;\n" if self.read_timeout else ""
        user = "user root;\n" if os.geteuid() == 0 else ""
        (d / "nginx.conf").write_text(
            f"{user}daemon off;\nworker_processes 1;\npid {d}/pid;\nerror_log {d}/error.log;\n"
            f"events {{ worker_connections 512; }}\n"
            f"http {{\naccess_log {d}/access.log;\n{temporary}{timeout}include {d}/site.conf;\n}}\n")
        return [self.available(), "-e", str(d / "error.log"), "-p", str(d), "-c", str(d / "nginx.conf")]


class Caddy(Proxy):
    program = "caddy"

    def command(self):
        site = (PROXY / "Caddyfile").read_text()
        site = replace(site, "reverse_proxy 127.0.0.1:8460 {", f"tls {self.cert} {self.key}\n\treverse_proxy {self.upstream} {{")
        site = replace(site, f"\n{NAME} {{", f"\n{{\n\tadmin off\n\tauto_https off\n\tdefault_bind 127.0.0.1\n}}\nhttps://{NAME}:{self.port} {{")
        (self.directory / "Caddyfile").write_text(site)
        return [self.available(), "run", "--config", str(self.directory / "Caddyfile"), "--adapter", "caddyfile"]


class Haproxy(Proxy):
    program = "haproxy"

    @classmethod
    def available(cls):
        """Unpacked without what it is linked with, it is there and does not run."""
        found = super().available()
        try:
            return found if found and subprocess.run([found, "-v"], capture_output=True, timeout=60).returncode == 0 else None
        except OSError:
            return None

    def command(self):
        both = self.directory / "both.pem"
        both.write_bytes(self.cert.read_bytes() + self.key.read_bytes())
        site = (PROXY / "haproxy.cfg").read_text()
        site = replace(site, "server drover 127.0.0.1:8460", f"server drover {self.upstream}")
        site = replace(site, "bind :443 ssl crt /etc/haproxy/drover.pem", f"bind 127.0.0.1:{self.port} ssl crt {both}")
        if self.read_timeout:
            site = replace(site, "timeout tunnel 60s", f"timeout tunnel {self.read_timeout}s")
        (self.directory / "haproxy.cfg").write_text(site)
        return [self.available(), "-db", "-f", str(self.directory / "haproxy.cfg")]
