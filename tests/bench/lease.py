#!/usr/bin/python3
"""Claims, each beside its floor in the same run:

- from a booted pool at 50 a second: the disk's own fsync;
- from a snapshot pool: `virsh restore` of the same VM, and that VM's boot;
- from a cold pool: `virsh start` of the same VM;
- giving back, until the name can be used again.

Arguments: `booted` and `restored` (the last three), one of them or both.

Real guests: a boot sector that idles (under KVM where that works), and the demo image for what is
restored and booted. DROVER_DEMO_IMAGE names a directory with the image; without it one is made."""
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / p) for p in ("qemu", "support", "guests", "contract")]

from bench import PROGRAMS, Api, Daemon, Report, median, percentile, run_json  # noqa: E402
from libvirtd import Libvirtd  # noqa: E402
from rig import Rig, accelerations, build_demo, eventually  # noqa: E402

RATE = 50
CLAIMS = int(os.environ.get("BENCH_CLAIMS", 250)) # of the test driver's VMs
REAL = int(os.environ.get("BENCH_VMS", 20))       # real guests that wait
ROUNDS = int(os.environ.get("BENCH_ROUNDS", 7))
CLIENTS = 8
SLICES = 5
PATIENCE = 300


def timed(call):
    began = time.monotonic()
    value = call()
    return 1000 * (time.monotonic() - began), value


class Disk:
    """One page written and synced: what a commit costs on this disk at least. A machine that others use, too,
    wakes nobody on time, so the floor is waited for and measured just as a claim is: from when it was due."""

    def __init__(self, folder):
        self.fd = os.open(Path(folder) / "plain", os.O_CREAT | os.O_WRONLY, 0o600)
        self.times = []

    def sync(self):
        os.pwrite(self.fd, b"\0" * 4096, 0)
        os.fsync(self.fd)

    def at_a_rate(self, count):
        begin = time.monotonic() + 0.01
        for i in range(count):
            time.sleep(max(0, begin + i / RATE - time.monotonic()))
            self.sync()
            self.times.append(1000 * (time.monotonic() - begin - i / RATE))


def ready(api, pool):
    return json.loads(api.call("GET", f"/v1/pools/{pool}"))["status"]["ready"]


def fill(api, pool, definition):
    api.call("PUT", f"/v1/pools/{pool}", definition)
    eventually(lambda: ready(api, pool) >= definition["ready"], PATIENCE, f"{pool} is full")


def claim(api, pool, **query):
    path = "/v1/leases" + ("?" + "&".join(f"{k}={v}" for k, v in query.items()) if query else "")
    return json.loads(api.call("POST", path, {"pool": pool, "ttl_seconds": 600}))


def claims(daemon, pool, count):
    """Claims begin when they are due, however long others take; the client is in C, for it shares the machine."""
    body = json.dumps({"pool": pool, "ttl_seconds": 600})
    done = run_json(PROGRAMS / "paced", *daemon.address.rsplit(":", 1), "/v1/leases", daemon.admin_token(), RATE,
                    (count - 0.5) / RATE, CLIENTS, body)
    assert done["requests"] == count, done
    return done["times_ms"]


def measured(report, daemon, api, what, pool, count):
    """Slices of syncs and of claims in turns: whoever else uses the machine slows down both."""
    disk, times = Disk(daemon.state_dir), []
    for _ in range(SLICES):
        disk.at_a_rate(count // SLICES)
        times += claims(daemon, pool, count // SLICES)
    leases = json.loads(api.call("GET", "/v1/leases?limit=1000"))["items"]
    leases = [lease for lease in leases if lease["pool"] == pool]
    assert len({lease["vm"]["id"] for lease in leases}) == len(leases) == len(times) and all(x["warm"] for x in leases)
    inside = [lease["claim_ms"] for lease in leases]
    for name, values in ("one fsync", disk.times), ("request to answer", times), ("of it inside, until committed", inside):
        report.note(f"{what}: {name}: p50 {median(values):.2f} ms, p99 {percentile(values, 0.99):.2f} ms")
    report.note(f"{what}: as multiples of the sync: p50 {median(times) / median(disk.times):.1f}, "
                f"p99 {percentile(times, 0.99) / percentile(disk.times, 0.99):.1f}")
    report.target(f"{what}: p99", percentile(times, 0.99), 10, "ms")
    return leases


def booted(report):
    """First many VMs without guests (libvirt's test driver), then real ones, whose consoles must work."""
    with Libvirtd() as libvirtd, Daemon(libvirt=libvirtd.uri) as daemon:
        api = Api(daemon)
        fill(api, "many", {"vm": {"memory_mib": 16, "networks": []}, "ready": CLAIMS, "max": 2 * CLAIMS})
        measured(report, daemon, api, f"{CLAIMS} claims at {RATE}/s, no guests", "many", CLAIMS)
    with Rig() as rig:
        api = Api(rig)
        rig.ensure_image("idle")
        kind = "kvm" if "kvm" in accelerations() else "emulated"
        vm = {"image": "idle", "memory_mib": 16, "acceleration": kind, "networks": []}
        fill(api, "real", {"vm": vm, "ready": REAL, "max": REAL, "ready_when": "console", "boot_seconds": PATIENCE})
        leases = measured(report, rig, api, f"{REAL} claims at {RATE}/s, guests under {kind}", "real", REAL)
        for lease in leases:  # answered means: there is a console, with all that was printed
            with rig.console(lease["vm"]["id"]) as c:
                c.expect(rb"Nothing to do")
        api.call("DELETE", "/v1/pools/real")


def virsh(uri, *command):
    subprocess.run(["virsh", "-q", "-c", uri, *map(str, command)], capture_output=True, timeout=120, check=True)


def gone(api, vm_id):
    return vm_id not in api.call("GET", "/v1/vms?limit=1000").decode()


def restored(report, rig, theirs, libvirtd):
    """The same definition on both sides, in turns: both see the same machine."""
    api, vm = Api(rig), {"image": "demo", "memory_mib": 96, "acceleration": "emulated", "guest_agent": False,
                         "networks": [{"mode": "user"}], "ready_pattern": "root@demo:"}
    fill(api, "snap", {"vm": vm, "depth": "snapshot", "ready": 2, "max": 3, "ready_when": "ready", "boot_seconds": PATIENCE})
    api.call("PUT", "/v1/pools/cold", {"vm": vm, "depth": "cold", "max": 2})
    name = theirs.create(wait="ready", **vm)["name"]
    saved = libvirtd.dir / "saved"
    figures = {"claim": [], "restore": [], "boot": [], "cold": [], "start": [], "release": [], "gone": []}
    for _ in range(ROUNDS):
        virsh(libvirtd.uri, "save", name, saved)
        figures["restore"].append(timed(lambda: virsh(libvirtd.uri, "restore", saved))[0])
        virsh(libvirtd.uri, "suspend", name)  # nobody else shall have less of the machine for it
        eventually(lambda: ready(api, "snap") >= 1, PATIENCE, "one that waits")
        ms, lease = timed(lambda: claim(api, "snap", wait="running", timeout=60))
        assert lease["warm"] and rig.vm(lease["vm"]["id"])["template_id"]
        figures["claim"].append(ms)
        release(api, lease, figures)
        virsh(libvirtd.uri, "resume", name)
    for _ in range(max(2, ROUNDS // 3)):
        virsh(libvirtd.uri, "destroy", name)
        figures["start"].append(timed(lambda: virsh(libvirtd.uri, "start", name))[0])
        virsh(libvirtd.uri, "suspend", name)
        began = time.monotonic()
        lease = claim(api, "cold", wait="running", timeout=120)
        figures["cold"].append(1000 * (time.monotonic() - began))
        json.loads(api.call("GET", f"/v1/vms/{lease['vm']['id']}/wait?for=ready&timeout=120"))
        figures["boot"].append(1000 * (time.monotonic() - began))
        release(api, lease, figures)
    for pool in ("snap", "cold"):
        api.call("DELETE", f"/v1/pools/{pool}")
    for what, values in figures.items():
        report.note(f"{what}: median {median(values):.1f} ms of {', '.join(f'{v:.0f}' for v in values)}")
    report.target("snapshot claim as a multiple of virsh restore", median(figures["claim"]) / median(figures["restore"]), 1.3, "x")
    report.target("boot as a multiple of a snapshot claim", median(figures["boot"]) / median(figures["claim"]), 4, "x", at_least=True)
    report.target("cold claim until it runs, added to virsh start", median(figures["cold"]) - median(figures["start"]), 50, "ms")
    report.target("given back until another VM has the name", median(figures["release"]), 50, "ms")


def release(api, lease, figures):
    """Until its name is another's, and until nothing of the VM is left."""
    began, vm = time.monotonic(), lease["vm"]
    api.call("DELETE", f"/v1/leases/{lease['id']}")
    other = json.loads(api.call("POST", "/v1/vms", {"name": vm["name"], "memory_mib": 16, "networks": []}))
    figures["release"].append(1000 * (time.monotonic() - began))
    eventually(lambda: gone(api, vm["id"]), PATIENCE, f"the end of {vm['name']}", every=0.002)
    figures["gone"].append(1000 * (time.monotonic() - began))
    api.finish(json.loads(api.call("DELETE", f"/v1/vms/{other['id']}?force=true")))


def main():
    report, parts = Report("lease"), sys.argv[1:] or ["booted", "restored"]
    if "booted" in parts:
        booted(report)
    if "restored" not in parts:
        report.end()
    where = os.environ.setdefault("DROVER_DEMO_IMAGE", tempfile.mkdtemp(prefix="drover-demo-"))
    build_demo(where)
    with Rig() as rig, Libvirtd(driver="qemu+unix:///session") as libvirtd, Rig(libvirt=libvirtd.uri) as theirs:
        theirs.state_dir.chmod(0o711)  # a libvirtd's QEMU is another user
        rig.ensure_image("demo")
        restored(report, rig, theirs, libvirtd)
    report.end()


main()
