#!/usr/bin/python3
"""POST /v1/vms: until it is committed (201) and until its operation is finished, beside libvirt alone.

libvirt alone is virDomainDefineXML of the same definition, in a small C program on the same URI.
"""
import os
import sys
import tempfile
import time
from pathlib import Path

from bench import Api, Daemon, Program, Report, median, percentile

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import libvirtd as private  # noqa: E402

ROUNDS, EACH = 12, 10
ADDED_MS = 5


def timed(call):
    began = time.monotonic()
    value = call()
    return value, 1000 * (time.monotonic() - began)


class Disk:
    """A page appended and synced: what one commit costs on this disk at least."""

    def __init__(self, folder):
        self.fd = os.open(Path(folder) / "plain", os.O_CREAT | os.O_WRONLY, 0o600)

    def write(self):
        os.write(self.fd, b"\0" * 4096)
        os.fdatasync(self.fd)


def measure(report, label, uri, xml):
    times = {"sync": [], "define": [], "committed": [], "finished": []}
    with Daemon(libvirt=uri) as daemon, Program("libvirt_floor", "define", uri, xml) as floor:
        api, disk, number = Api(daemon), Disk(daemon.state_dir), 0
        for _ in range(ROUNDS):
            for _ in range(EACH):
                times["sync"].append(timed(disk.write)[1])
            for _ in range(EACH):
                times["define"].append(int(floor.ask()) / 1e6)
            for _ in range(EACH):
                began = time.monotonic()
                vm = api.create(f"vm-{number}")
                times["committed"].append(1000 * (time.monotonic() - began))
                api.finish(vm["operation"])
                times["finished"].append(1000 * (time.monotonic() - began))
                number += 1
    for name, values in times.items():
        report.note(f"{label}: {name}: median {median(values):.2f} ms, p90 {percentile(values, 0.9):.2f} ms")
    syncs = (median(times["finished"]) - median(times["define"])) / median(times["sync"])
    report.target(f"{label}: 201 after commit, added to libvirt alone",
                  median(times["committed"]) - median(times["define"]), ADDED_MS, "ms")
    report.note(f"{label}: finished, added to libvirt alone: {median(times['finished']) - median(times['define']):.2f}"
                f" ms, that is {syncs:.1f} syncs of the disk")


def domain_xml(libvirtd, folder):
    """What libvirt has of a VM that the daemon made."""
    with Daemon(libvirt=libvirtd.uri) as daemon:
        api = Api(daemon)
        vm = api.create("sample")
        api.finish(vm["operation"])
        path = Path(folder) / "domain.xml"
        path.write_text(libvirtd.virsh("dumpxml", "--inactive", vm["id"]))
        libvirtd.virsh("undefine", vm["id"])
    return path


def main():
    report = Report("create")
    if not private.available():
        report.note("libvirtd is not installed: cannot tell what the domain looks like")
        sys.exit(1)
    with tempfile.TemporaryDirectory() as folder, private.Libvirtd() as libvirtd:
        xml = domain_xml(libvirtd, folder)
        measure(report, "test", "test:///default", xml)
        measure(report, "test+unix", libvirtd.uri, xml)
    report.end()


main()
