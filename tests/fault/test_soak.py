"""VMs that come and go, followers that come and go, a libvirtd that is killed again and again: the daemon has no
more descriptors, threads and memory afterwards, its database no more pages, and the log of it has an end.

DROVER_SOAK_LIVES says how many VMs there shall be in all (100,000 with --long).
"""
import http.client
import os
import struct
import threading
import uuid
from pathlib import Path

import pytest
from daemon import BUILD, eventually
from invariants import everything_agrees, quiet
from test_limits import descriptors

SHIM = BUILD / "tests" / "jumping_clock.so"
CLIENTS, FOLLOWERS = 4, 8
HOUR = 3600
# glibc gives threads up to eight heaps a processor, and each keeps its worst moment: 400 VMs took them from 41 to
# 61 MB, and one heap from 35 to 44. With one it is the daemon's own growth that is compared.
HEAPS = {"MALLOC_ARENA_MAX": "1"}
# What the last batches may have more than the first warm ones: a connection or two that nobody has missed
# yet, a heap's fragments.
MORE = {"descriptors": 6, "threads": 4, "memory_kib": 8192}
LOG_MOST = 96 << 20  # SQLite cuts it off at 64 MiB when it begins anew
KEEP = {f"{what}_keep_hours": 1 for what in ("operation", "event", "audit", "idempotency", "lease")}
pytestmark = pytest.mark.skipif(not SHIM.exists(), reason=f"{SHIM} is not built")


class Clients:
    """Each makes a VM that runs, and deletes it, and so on; what libvirt's absence refuses is asked again."""

    def __init__(self, daemon, lives):
        self.daemon, self.left, self.lock, self.failures = daemon, lives, threading.Lock(), []
        self.over, self.all_read = threading.Event(), False
        self.lives = [threading.Thread(target=self._guard, args=(self._live,), daemon=True) for _ in range(CLIENTS)]
        self.followers = [threading.Thread(target=self._guard, args=(self._follow,), daemon=True) for _ in range(FOLLOWERS)]
        for thread in self.lives + self.followers:
            thread.start()

    def _guard(self, what):
        try:
            what(self.daemon.client())
        except Exception as e:  # pylint: disable=broad-except
            self.failures.append(e)

    def _take(self):
        with self.lock:
            self.left -= 1
            return self.left >= 0

    @staticmethod
    def _ask(method, *arguments, **more):
        """With its key, until libvirt is there."""
        def answered():
            answer = method(*arguments, headers={"Idempotency-Key": key}, **more)
            return answer if answer.status != 503 else None
        key = str(uuid.uuid4())
        return eventually(answered, 60, "an answer", every=0.05)

    def _live(self, api):
        api.check = None  # the load is not what is checked against the contract
        while self._take():
            made = self._ask(api.post, "/v1/vms", {"name": f"s-{uuid.uuid4()}", "memory_mib": 16, "networks": [], "start": True})
            assert made.status == 201, made
            if made.json["operation"]:
                api.get(f"/v1/operations/{made.json['operation']['id']}", wait=5)
            gone = self._ask(api.delete, f"/v1/vms/{made.json['id']}", force=True)
            assert gone.status == 202, gone

    def _follow(self, api):
        """Some leave in the middle of a line; one always reads all that is kept, the others what is new."""
        with self.lock:
            self.all_read, from_first = True, not self.all_read
        while not self.over.is_set():
            stream = api.sse(since=0 if from_first else max(0, api.get("/v1/events", limit=1).json["last_seq"] - 20))
            try:
                for _, _ in zip(range(5), stream):
                    pass
            except (OSError, http.client.HTTPException):
                pass
            stream.close()

    def join(self):
        for thread in self.lives:
            thread.join(1200)
        self.over.set()
        for thread in self.followers:
            thread.join(60)
        assert not self.failures and not any(t.is_alive() for t in self.lives + self.followers), self.failures


def figures(daemon):
    status = dict(line.split(":", 1) for line in Path(f"/proc/{daemon.pid}/status").read_text().splitlines())
    return {"descriptors": descriptors(daemon.pid), "threads": int(status["Threads"]),
            "memory_kib": int(status["VmRSS"].split()[0])}


def batch(daemon, libvirtd, lives):
    clients = Clients(daemon, lives)
    eventually(lambda: clients.left < lives // 2 or clients.failures, 600, "half of the VMs")
    libvirtd.kill9()
    libvirtd.start()
    clients.join()
    api = daemon.client()
    eventually(lambda: api.get("/readyz").status == 200, 60, "libvirt's being back")
    quiet(api)
    assert not api.get("/v1/vms").json["items"]


def settled(daemon):
    """The figures, once what a closed connection leaves is gone."""
    seen = [figures(daemon)]

    def same():
        seen.append(figures(daemon))
        return seen[-1]["descriptors"] == seen[-2]["descriptors"] and seen[-1]["threads"] == seen[-2]["threads"]
    eventually(same, 20, "figures that stay", every=0.3)
    return seen[-1]


def pages(daemon):
    return (daemon.state_dir / "drover.db").stat().st_size


def test_nothing_grows(libvirtd, make_daemon, tmp_path, long):
    lives = int(os.environ.get("DROVER_SOAK_LIVES") or (100_000 if long > 1 else 180))
    batches = 6 if lives < 1000 else 24
    clock = tmp_path / "clock"
    clock.write_bytes(struct.pack("qq", 0, 0))
    daemon = make_daemon(libvirt=libvirtd.uri, settings={**KEEP, "log_level": "warning"},
                         env={**HEAPS, "LD_PRELOAD": str(SHIM), "JUMPING_CLOCK": str(clock)}).start()
    seen, sizes, log = [], [], 0
    for number in range(batches):
        if number in (batches // 3, 2 * batches // 3):
            # What was kept for an hour is forgotten at the next start; what comes then has its pages.
            sizes.append(pages(daemon))
            clock.write_bytes(struct.pack("qq", 2 * HOUR * len(sizes), 2 * HOUR * len(sizes)))
            daemon.restart()
            seen = []
        batch(daemon, libvirtd, lives // batches)
        seen.append(settled(daemon))
        log = max(log, daemon.state_dir.joinpath("drover.db-wal").stat().st_size)
    sizes.append(pages(daemon))
    everything_agrees(daemon, libvirtd)
    print(f"{lives} VMs, libvirtd killed {batches} times; the database {sizes} bytes after each third, its log at most {log}; in the last third {seen}")
    # A daemon's first batches make its threads and its heap.
    warm = seen[len(seen) // 2 - 1]
    for what, more in MORE.items():
        assert seen[-1][what] <= warm[what] + more, (what, seen)
    assert sizes[2] <= sizes[1] * 1.1 + 65536, sizes
    assert log < LOG_MOST, log
