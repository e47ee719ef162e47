#!/usr/bin/python3
"""What an idle daemon holds and uses, beside a program that only opens the same libvirt URI."""
import shutil
import tempfile
import time
from pathlib import Path

from bench import Api, Daemon, Program, Report, cpu_seconds, environment_seconds

SETTLE_SECONDS = 3


def memory_mib(pid):
    """(resident, its anonymous part)."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return tuple(int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "RssAnon"))


def measure(report, label, daemon, floor, seconds):
    time.sleep(SETTLE_SECONDS)
    before, began = cpu_seconds(daemon.pid), time.monotonic()
    time.sleep(seconds)
    cpu = 100 * (cpu_seconds(daemon.pid) - before) / (time.monotonic() - began)
    resident, anonymous = memory_mib(daemon.pid)
    report.note(f"{label}: droverd {resident:.1f} MiB resident, {anonymous:.1f} MiB of it anonymous; libvirt alone "
                f"{floor[0]:.1f} and {floor[1]:.1f} MiB")
    report.target(f"{label}: resident above libvirt alone", resident - floor[0], 16, "MiB")
    report.target(f"{label}: anonymous above libvirt alone", anonymous - floor[1], 16, "MiB")
    report.target(f"{label}: CPU over {seconds:.0f} s", cpu, 0.5, "%")


def main():
    report, seconds = Report("idle"), environment_seconds(20)
    folder = Path(tempfile.mkdtemp(prefix="drover-"))
    root, state_dir = folder / "libvirt", folder / "daemon"
    state_dir.mkdir()
    try:
        with Daemon(libvirt=f"qemu:///embed?root={state_dir}/libvirt", state_dir=state_dir) as daemon:
            # The same configuration, as far as it is the embedded driver's.
            (root / "etc").mkdir(parents=True)
            for path in (state_dir / "libvirt" / "etc").glob("*.conf"):
                shutil.copy(path, root / "etc")
            with Program("libvirt_floor", "idle", f"qemu:///embed?root={root}") as program:
                assert program.line() == "ready"
                time.sleep(SETTLE_SECONDS)
                floor = memory_mib(program.process.pid)
            measure(report, "no VM", daemon, floor, seconds)
            api = Api(daemon)
            for number in range(20):
                api.finish(api.create(f"vm-{number}")["operation"])
            measure(report, "20 VMs just made", daemon, floor, seconds)
            daemon.restart()
            measure(report, "20 stopped VMs after a restart", daemon, floor, seconds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report.end()


main()
