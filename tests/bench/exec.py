#!/usr/bin/python3
"""/bin/true in a guest through the API, beside virsh qemu-agent-command for the same three calls.

Two VMs of the demo image, one with the daemon's embedded driver and one of a libvirtd of its own: an
agent has one master. DROVER_DEMO_IMAGE names a directory with the image; without it one is made."""
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / p) for p in ("qemu", "support", "guests", "contract")]

from bench import Report, median  # noqa: E402
from rig import Rig, build_demo, eventually  # noqa: E402
from libvirtd import Libvirtd  # noqa: E402

ROUNDS = 25


def through_api(rig, vm):
    begun = time.monotonic()
    answer = rig.api.post(f"/v1/vms/{vm}/exec", {"argv": ["/bin/true"]})
    assert answer.status == 200 and answer.json["exit_code"] == 0, answer
    return 1000 * (time.monotonic() - begun)


def virsh(uri, domain, execute, **arguments):
    command = {"execute": execute, **({"arguments": arguments} if arguments else {})}
    done = subprocess.run(["virsh", "-q", "-c", uri, "qemu-agent-command", domain, json.dumps(command)],
                          capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)["return"]


def through_virsh(uri, domain):
    """Start it, ask how it is, and ask once more if it had not ended: at least the two a program needs,
    and the ping that virsh's user would send first."""
    begun = time.monotonic()
    virsh(uri, domain, "guest-ping")
    pid = virsh(uri, domain, "guest-exec", path="/bin/true", **{"capture-output": True})["pid"]
    virsh(uri, domain, "guest-exec-status", pid=pid)
    return 1000 * (time.monotonic() - begun)


def main():
    report = Report("exec")
    where = os.environ.setdefault("DROVER_DEMO_IMAGE", tempfile.mkdtemp(prefix="drover-demo-"))
    build_demo(where)
    with Rig() as ours, Libvirtd(driver="qemu+unix:///session") as libvirtd, Rig(libvirt=libvirtd.uri) as theirs:
        theirs.state_dir.chmod(0o711)  # a libvirtd's QEMU is another user
        api = ours.create("demo", memory_mib=96, wait="agent")["id"]
        name = theirs.create("demo", memory_mib=96, wait="agent")["name"]
        eventually(lambda: virsh(libvirtd.uri, name, "guest-ping") is not None, 60, "virsh reaches the agent")
        figures = {"api": [], "virsh": []}
        for _ in range(ROUNDS):  # in turns: both see the same machine
            figures["api"].append(through_api(ours, api))
            figures["virsh"].append(through_virsh(libvirtd.uri, name))
        report.note(f"median: API {median(figures['api']):.1f} ms, virsh {median(figures['virsh']):.1f} ms")
        report.target("exec of /bin/true as a multiple of virsh's three calls",
                      median(figures["api"]) / median(figures["virsh"]), 1.5, "x")
    report.end()


main()
