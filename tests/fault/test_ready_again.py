"""How soon a daemon that was killed under load is ready again, with many VMs."""
import os
import statistics
import threading
import time
from pathlib import Path

from api_client import Client
from crash_lab import OFFLINE
from daemon import eventually
from invariants import quiet, vms

VMS, KILLS = 50, 5  # 500 and 20 with --long


def load(url, token, over, number):
    """Changes, reads and lists until the daemon is gone; a client of its own for each life."""
    api = Client(url, token)
    turn = 0
    while not over.is_set():
        turn += 1
        try:
            api.patch(f"/v1/vms/vm-{(7 * turn + number) % VMS}", {"description": f"turn {turn}"})
            api.get("/v1/vms", limit=100)
            api.post(f"/v1/vms/vm-{(11 * turn + number) % VMS}/{('stop', 'start')[turn % 2]}")
        except OFFLINE:
            return


def processor_seconds(pid):
    """What the process has used so far, which a machine that is busy with others hardly changes."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_ready_after_a_kill(libvirtd, make_daemon, long):
    count, kills = (500, 20) if long > 1 else (VMS, KILLS)
    daemon = make_daemon(libvirt=libvirtd.uri).start()
    api = daemon.client()
    for i in range(count):
        made = api.post("/v1/vms", {"name": f"vm-{i}", "memory_mib": 16, "networks": [], "vsock": False, "start": i % 2 == 0})
        assert made.status == 201, made
    quiet(api, 120)
    before = {vm["id"] for vm in vms(api)}
    took, worked = [], []
    for _ in range(kills):
        over = threading.Event()
        clients = [threading.Thread(target=load, args=(daemon.url, daemon.admin_token(), over, n)) for n in range(4)]
        seen = len(api.get("/v1/operations", limit=1000).json["items"])
        for client in clients:
            client.start()
        eventually(lambda seen=seen: len(api.get("/v1/operations", limit=1000).json["items"]) >= min(seen + 10, 1000), 60,
                   "some load")
        daemon.kill9()
        over.set()
        for client in clients:
            client.join(60)
        begin = time.monotonic()
        daemon.spawn()
        eventually(lambda: daemon.listening(), 60, "listening", every=0.002)
        daemon.address = daemon.listening()
        look = Client(daemon.url)
        eventually(lambda look=look: look.get("/readyz").status == 200, 60, "being ready", every=0.002)
        took.append(time.monotonic() - begin)
        worked.append(processor_seconds(daemon.pid))
        api = daemon.client()
        quiet(api, 120)
        assert {vm["id"] for vm in vms(api)} == before
    print(f"{count} VMs, {kills} kills under load: ready after {statistics.median(took):.3f} s (half), "
          f"{max(took):.3f} s (slowest), with {statistics.median(worked):.2f} s of a processor")
