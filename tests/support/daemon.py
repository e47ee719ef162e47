"""droverd under test: started on a free port with a private state directory, watched, stopped.

    with Daemon(libvirt="test:///default") as daemon:
        daemon.client().get("/v1/vms")

DROVER_BUILD names the build directory (default: build at the top of the tree).
"""
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from api_client import Client  # noqa: E402
from websocket import WebSocket  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("DROVER_BUILD", ROOT / "build"))
START_SECONDS = 60
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN: # as in a shell's background commands; what tests start would, too
    signal.signal(signal.SIGINT, signal.default_int_handler)
STOP_SECONDS = 30


def eventually(condition, seconds=20, what="it", every=0.02):
    """The first true value of condition(); fails after so many seconds."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"{what} did not happen within {seconds} s"
        time.sleep(every)


class Daemon:
    def __init__(self, libvirt="test:///default", settings=None, check=None, state_dir=None, ready=True,
                 wrapper=(), env=None, context=None):
        """wrapper: a command that runs the daemon's, and becomes it (exec). env: added to its environment.

        context: what clients trust, where settings make it speak TLS."""
        self.context = context
        self.env = dict(env or {})
        self.libvirt, self.settings, self.check, self.wrapper = libvirt, dict(settings or {}), check, list(wrapper)
        self.own_dir = state_dir is None
        # short: a Unix socket's path has at most 107 bytes
        self.state_dir = Path(state_dir or tempfile.mkdtemp(prefix="drover-"))
        self.log_path = self.state_dir / "droverd.log"
        self.process, self.address, self.ready = None, None, ready

    # ---- life ----

    def start(self):
        """Runs it and waits until it listens, and unless told otherwise until it is ready."""
        self.spawn()
        self.address = eventually(lambda: self._alive() and self.listening(),
                                  START_SECONDS, f"listening (log: {self.log()[-3000:]})")
        if self.ready:
            self.wait_ready()
        return self

    def spawn(self):
        """Runs it; `process` is there, whatever it does with itself from now on."""
        assert self.process is None
        listen = self.state_dir / "listen.addr"
        listen.unlink(missing_ok=True)
        command = [*self.wrapper, BUILD / "droverd", "--state-dir", self.state_dir, "--listen", "127.0.0.1:0",
                   "--libvirt", self.libvirt]
        # With DROVER_TEST_FRONT every daemon gives the network to a process of its own.
        front = {"network_process": "always"} if os.environ.get("DROVER_TEST_FRONT") else {}
        for name, value in {**front, **self.settings}.items():
            command.append(f"--{name.replace('_', '-')}={value}")
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(command, stderr=log, stdout=log, stdin=subprocess.DEVNULL,
                                            env={**os.environ, **self.env})

    def listening(self):
        """The address, once it listens."""
        file = self.state_dir / "listen.addr"
        return file.exists() and file.read_text().strip()

    def wait_ready(self, seconds=START_SECONDS):
        client = self.client(token=None)
        eventually(lambda: self._alive() and client.get("/readyz").status == 200, seconds,
                   f"ready (log: {self.log()[-3000:]})")

    def _alive(self):
        status = self.process.poll()
        assert status is None, f"droverd ended with {status}; log:\n{self.log()[-4000:]}"
        return True

    def stop(self):
        """A clean stop; it must end by itself, with 0 (so that a sanitizer's finding is one here)."""
        if not self.process:
            return
        process, self.process = self.process, None
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            status = process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"droverd did not stop within {STOP_SECONDS} s; log:\n{self.log()[-4000:]}") from None
        assert status == 0, f"droverd ended with {status}; log:\n{self.log()[-6000:]}"

    def kill9(self):
        process, self.process = self.process, None
        process.kill()
        process.wait()

    def restart(self):
        self.stop()
        return self.start()

    def close(self):
        try:
            self.stop()
        finally:
            if self.own_dir and not os.environ.get("DROVER_KEEP"):
                shutil.rmtree(self.state_dir, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.close()

    # ---- what a test wants of it ----

    @property
    def pid(self):
        return self.process.pid

    @property
    def url(self):
        return f"http{'s' if self.context else ''}://{self.address}"

    @property
    def socket_path(self):
        return str(self.state_dir / "drover.sock")

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def warnings(self):
        """Log lines of level warning and above."""
        return [line for line in self.log().splitlines() if re.match(r"<[0-4]>", line)]

    def admin_token(self):
        return (self.state_dir / "admin.token").read_text().strip()

    def client(self, token="admin", headers=None):
        """token: "admin" for the first one, None for no credential."""
        return Client(self.url, self.admin_token() if token == "admin" else token, self.check, headers, self.context)

    def socket_client(self):
        """Over the Unix socket, as this process's user."""
        return Client(self.socket_path, None, self.check)

    def websocket(self, path, token="admin", headers=None, **kw):
        headers = dict(headers or {})
        if token:
            headers["Authorization"] = f"Bearer {self.admin_token() if token == 'admin' else token}"
        client = self.client(token=None)

        def observe(target, status, answered, body):
            from api_client import Response
            client.observe("GET", target, Response(status, answered, body))

        if self.context:
            return WebSocket(f"wss://{self.address}{path}", headers=headers, observe=observe,
                             **{"context": self.context, **kw})
        return WebSocket(f"ws://{self.address}{path}", headers=headers, observe=observe, **kw)
