"""A walk past the places where Drover calls libvirt: one VM's life, whatever the answers are."""
import threading
import time

from daemon import eventually
from websocket import Refused

PATIENCE = 40


class Walk:
    """Remembers how long answers took. An operation is waited for until it ends or over() says not to."""

    def __init__(self, daemon, name, over):
        self.daemon, self.api, self.name, self.over = daemon, daemon.client(), name, over
        self.slowest, self.asked, self.met = (0.0, ""), 0, set()

    def ask(self, method, path, body=None, **more):
        begin = time.monotonic()
        answer = self.api.request(method, path, body, patience=PATIENCE, **more)
        self._took(begin, f"{method} {path} {answer.status} {answer.code}")
        return answer

    def _took(self, begin, what):
        self.asked += 1
        self.slowest = max(self.slowest, (time.monotonic() - begin, what))

    def _settled(self, operation):
        """Asked for without ?wait=, which may take as long as it says."""
        def ended():
            answer = self.ask("GET", f"/v1/operations/{operation}")
            return answer.status != 200 or answer.json["state"] not in ("pending", "running")
        eventually(lambda: ended() or self.over(), PATIENCE, "an operation's end", every=0.01)

    def act(self, verb, body=None):
        answer = self.ask("POST", f"/v1/vms/{self.name}/{verb}", body)
        self.met.add((verb, answer.status))
        if answer.status == 202:
            self._settled(answer.json["id"])

    def stream(self, path):
        begin = time.monotonic()
        try:
            self.daemon.websocket(path, timeout=PATIENCE).close()
            self._took(begin, f"GET {path} 101")
        except Refused as refused:
            self._took(begin, f"GET {path} {refused.status}")

    def run(self):
        """The VM is left running, off, or not there, as it came; the last step deletes it."""
        vm = f"/v1/vms/{self.name}"
        answer = self.ask("POST", "/v1/vms", {"name": self.name, "memory_mib": 16, "display": True,
                                              "channels": ["c"], "networks": [{"mode": "user"}], "start": True,
                                              "autostart": True})
        if answer.status != 201:
            return
        self._settled(answer.json["operation"]["id"])
        for path in ("/console", "/channels/c", "/display"):
            self.stream(vm + path)
        for path in (vm, vm + "/display.png", vm + "/stats", "/v1/host", "/v1/host/checks", "/v1/stats",
                     vm + "/addresses", "/readyz"):
            self.ask("GET", path)
        for verb in ("pause", "resume", "reset", "reboot", "save", "start", "stop"):
            self.act(verb)
        # A new name is told to libvirt at the next start.
        self.ask("PATCH", vm, {"name": f"{self.name}-b"}, headers={"Content-Type": "application/merge-patch+json"})
        answer = self.ask("GET", vm + "-b")
        if answer.status == 200:
            self.name += "-b"
        for verb in ("start", "save", "stop", "start", "shutdown"):
            self.act(verb)
        answer = self.ask("DELETE", f"/v1/vms/{self.name}", force=True)
        if answer.status == 202:
            self._settled(answer.json["id"])


class Bystander(threading.Thread):
    """Who has nothing to do with the fault: reads, and pauses and resumes a VM of their own."""

    def __init__(self, daemon, vm):
        super().__init__(daemon=True)
        self.api, self.vm, self.ended = daemon.client(), vm, threading.Event()
        self.api.check = None
        self.live, self.reads, self.ends, self.failure = [], [], [], None

    def _timed(self, into, method, path, **more):
        begin = time.monotonic()
        answer = self.api.request(method, path, **more)
        into.append((time.monotonic() - begin, path))
        return answer

    def run(self):
        try:
            while not self.ended.is_set():
                self._timed(self.live, "GET", "/livez")
                self._timed(self.reads, "GET", "/v1/vms")
                self._timed(self.reads, "GET", f"/v1/vms/{self.vm}")
                self.ended.wait(0.01)
        except Exception as e:  # pylint: disable=broad-except
            self.failure = repr(e)

    def stop(self):
        self.ended.set()
        self.join(PATIENCE)
        assert not self.is_alive() and not self.failure, self.failure
        return self
