"""Starting and stopping: often, with everybody still connected, with much to load."""
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

from daemon import eventually
from invariants import events_are_gapless, everything_agrees, quiet, vms
from load import OFFLINE

TIMES = 50


def of_each_task(pid, file):
    """What the file says of each thread that is still there when it is asked."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found.append((task / file).read_text().strip())
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


def children(pid):
    return " ".join(of_each_task(pid, "children")).split()


def threads(pid):
    return sorted(of_each_task(pid, "comm"))


def descriptors(pid):
    """What each is, without the number of this one."""
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(os.readlink(link).partition(":[")[0])
        except FileNotFoundError:
            pass
    return sorted(found)


def fewest(pid):
    """Its descriptors, once the last request's connection is closed: the fewest within a second."""
    found, end = descriptors(pid), time.monotonic() + 1
    while time.monotonic() < end:
        found = min(found, descriptors(pid), key=len)
    return found


def at_rest(pid):
    """Threads and descriptors, when they are the same a second later: nothing is still being opened."""
    found, before = (threads(pid), fewest(pid)), None
    while found != before:
        found, before = (threads(pid), fewest(pid)), found
    return found


def quick(daemon):
    start = time.monotonic()
    process, daemon.process = daemon.process, None
    process.send_signal(signal.SIGTERM)
    status = process.wait(30)
    assert status == 0, f"{status}\n{daemon.log()[-4000:]}"
    return time.monotonic() - start


def test_fifty_times(make_daemon):
    """Each start is like the first, each stop is clean: nothing gathers."""
    daemon = make_daemon(libvirt="test:///default")
    start, slowest, usual = time.monotonic(), 0.0, None
    for number in range(TIMES):
        daemon.start()
        api = daemon.client()
        if number == 0:
            assert api.post("/v1/vms", {"name": "one", "memory_mib": 16}).status == 201
        quiet(api)
        eventually(lambda: "sampler" in threads(daemon.pid), 20, "the sampler")
        assert not children(daemon.pid)
        assert [vm["name"] for vm in vms(api)] == ["one"]
        if number == 1:  # the first run makes files that the others find
            usual = at_rest(daemon.pid)
        elif number:
            try:
                eventually(lambda: (threads(daemon.pid), descriptors(daemon.pid)) == usual, 20, "sameness")
            except AssertionError:
                now = (threads(daemon.pid), descriptors(daemon.pid))
                for kind, found, before in zip(("threads", "descriptors"), now, usual):
                    more, fewer = Counter(found) - Counter(before), Counter(before) - Counter(found)
                    print(f"start {number}: {kind}: more {dict(more)}, fewer {dict(fewer)}")
                raise
        slowest = max(slowest, quick(daemon))
    seconds = time.monotonic() - start
    left = {p.name for p in daemon.state_dir.iterdir()}
    print(f"{TIMES} starts and stops in {seconds:.1f} s, slowest stop {slowest:.2f} s; files: {sorted(left)}")
    assert seconds < 60 and slowest < 3
    daemon.start()
    events_are_gapless(daemon.client())


def test_stop_at_any_moment_of_the_start(make_daemon, rng):
    """SIGTERM while it is still coming up, wherever that is: a clean end all the same."""
    daemon = make_daemon(libvirt="test:///default")
    daemon.start()
    quick(daemon)
    for _ in range(15):
        daemon.spawn()
        process, daemon.process = daemon.process, None
        # Counted from when it runs: a signal that falls due before there is a process reaches nobody.
        try:
            process.wait(rng.random() * 0.4)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
        status = process.wait(20)
        # Before its handlers are in place, SIGTERM is what ends it.
        assert status in (0, -signal.SIGTERM), daemon.log()[-3000:]


def test_everybody_is_still_there(libvirtd, make_daemon):
    """20 parked waits, 20 WebSockets, event streams, idle and half-open connections: under 3 s."""
    daemon = make_daemon(libvirt=libvirtd.uri).start()
    api = daemon.client()
    assert api.post("/v1/vms", {"name": "one", "memory_mib": 16, "start": True}, wait="running").status == 201
    # The test driver has no consoles: a wait for the first output lasts.
    answers, sockets = [], []

    def park():
        try:
            answers.append(api.post("/v1/vms", {"name": f"parked-{threading.get_ident()}", "memory_mib": 16,
                                                "start": True}, wait="console", timeout=50))
        except OFFLINE as e:
            answers.append(e)

    parked = [threading.Thread(target=park) for _ in range(20)]
    for thread in parked:
        thread.start()
    for _ in range(20):
        sockets.append(daemon.websocket("/v1/events"))
    streams = [api.sse(since=0) for _ in range(5)]
    for stream in streams:
        next(stream)
    idle = [api.connection() for _ in range(5)]
    for connection in idle:
        connection.connect()
    eventually(lambda: len(vms(api)) == 21, 20, "20 creations")
    quiet(api)
    assert not answers, "they are not parked"
    seconds = quick(daemon)
    print(f"stopped in {seconds:.2f} s")
    assert seconds < 3
    for thread in parked:
        thread.join(10)
        assert not thread.is_alive()
    # Each was told: either what it made, or that the daemon stops; none was cut in silence.
    assert len(answers) == 20
    assert all(not isinstance(a, Exception) and a.status in (201, 503) for a in answers), answers[:3]
    for ws in sockets:
        while ws.receive():
            pass
        assert ws.close_code in (1001, 1012), ws.close_code
    daemon.start()
    quiet(daemon.client())
    assert len(everything_agrees(daemon, libvirtd)) == 21


def test_two_thousand_vms(make_daemon, libvirtd):
    """Created by a few clients; then the start, its time, and every one of them."""
    daemon = make_daemon(libvirt=libvirtd.uri).start()
    failures, count = [], 2000

    def create(first):
        api = daemon.client()
        api.check = None
        for i in range(first, count, 8):
            answer = api.post("/v1/vms", {"name": f"vm-{i}", "memory_mib": 16})
            if answer.status != 201:
                failures.append(answer)

    start = time.monotonic()
    clients = [threading.Thread(target=create, args=(i,)) for i in range(8)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join(120)
    assert not failures, failures[:2]
    quiet(daemon.client())
    made = time.monotonic() - start
    daemon.kill9()
    daemon.ready = False
    start = time.monotonic()
    daemon.start()
    listening = time.monotonic() - start
    api = daemon.client()
    eventually(lambda: api.get("/readyz").status == 200, 20, "readiness")
    ready = time.monotonic() - start
    assert len(vms(api)) == count
    print(f"{count} VMs made in {made:.1f} s; listening after {listening:.2f} s, compared and ready after {ready:.2f} s")
    assert listening < 5 and ready < 10
    stop = quick(daemon)
    print(f"stopped in {stop:.2f} s")
    assert stop < 3
