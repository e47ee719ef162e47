#!/usr/bin/python3
"""What figures cost: sampling beside prometheus-libvirt-exporter, a scrape of 1,000 VMs, a month of
history, and density beside ksmtuned.

    stats.py [sample] [scrape] [history] [density]

The first has BENCH_STATS_VMS paused VMs (200), then as many in a libvirtd of its own for the peer. The exporter is looked for in
PATH, or where PROMETHEUS_LIBVIRT_EXPORTER says; without it its peer is what it asks libvirtd for:
`virsh domstats`. density is stats_density.py."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / p) for p in ("qemu", "support", "guests", "contract")]

from bench import PROGRAMS, Api, Daemon, Report, cpu_seconds, environment_seconds, fill, free_port, median, \
    percentile, run_json  # noqa: E402
from libvirtd import Libvirtd  # noqa: E402
from machine import accelerations  # noqa: E402
from rig import Rig, eventually, processes, qemu_pid  # noqa: E402

VMS = int(os.environ.get("BENCH_STATS_VMS", 200))
SCRAPED, SCRAPES = 1000, 60
SETTLE_SECONDS, DEBT_SECONDS = 10, 20


# ---- one sample of many VMs ----

def exporter_program():
    named = os.environ.get("PROMETHEUS_LIBVIRT_EXPORTER")
    return named or shutil.which("prometheus-libvirt-exporter")


def paused_vms(rig, count):
    """They run firmware for a moment; then nothing of what is measured is theirs."""
    made = []
    for number in range(count):
        vm = rig.api.post("/v1/vms", {"name": f"paused-{number}", "memory_mib": 16, "memory_merge": False,
                                      "networks": [{"mode": "user"}], "start": True},
                          wait="running", timeout=120, patience=180).json
        rig.made.append(vm["id"])
        done = rig.api.post(f"/v1/vms/{vm['id']}/pause", wait=60, patience=90)
        assert done.json["state"] == "succeeded", done
        made.append(vm["id"])
        if number % 50 == 49:
            print(f"stats: {number + 1} VMs are there", flush=True)
    return made


class Exporter:
    def __init__(self, program, socket):
        self.port = free_port()
        self.process = subprocess.Popen(
            [program, f"--web.listen-address=127.0.0.1:{self.port}",
             f"--libvirt.uri=qemu+unix:///session?socket={socket}"], stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True)

    def scrape(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=120) as answer:
            return answer.read().decode()

    def ready(self):
        assert self.process.poll() is None, self.process.stderr.read()
        try:
            return "libvirt_up 1" in self.scrape()
        except (urllib.error.URLError, ConnectionError):
            return False

    def close(self):
        self.process.terminate()
        self.process.wait(20)


def peer_ms(report, libvirtd, pids):
    """CPU milliseconds a VM of one reading by the peer: its own, libvirtd's and QEMU's. Without what
    the same processes use meanwhile when nobody asks: a paused QEMU wakes once a second."""
    program, rounds, each = exporter_program(), 5, []
    others = [libvirtd.process.pid, *pids]

    def spent(also=()):
        return sum(cpu_seconds(pid) for pid in [*others, *also])

    before, began = spent(), time.monotonic()
    time.sleep(environment_seconds(20))
    idle = (spent() - before) / (time.monotonic() - began)

    if program:
        exporter = Exporter(program, libvirtd.socket)
        try:
            eventually(exporter.ready, 30, "the exporter answers")
            text = exporter.scrape()
            found = sum(line.startswith("libvirt_domain_info_virtual_cpus{") for line in text.splitlines())
            assert found == len(pids), f"the exporter shows {found} of {len(pids)} VMs"
            for _ in range(rounds):
                before, began = spent([exporter.process.pid]), time.monotonic()
                exporter.scrape()
                each.append(spent([exporter.process.pid]) - before - idle * (time.monotonic() - began))
        finally:
            exporter.close()
        name = f"{Path(program).name} (Debian 12's)"
    else:
        for _ in range(rounds):
            before, at = spent(), time.monotonic()
            began = os.times()
            libvirtd.virsh("domstats")
            ended = os.times()
            each.append(spent() - before - idle * (time.monotonic() - at) + ended.children_user + ended.children_system
                        - began.children_user - began.children_system)
        name = "virsh domstats (the exporter is not installed)"
    report.note(f"{name}: {1000 * median(each):.0f} ms of CPU for one reading of {len(pids)} VMs")
    return 1000 * median(each) / len(pids)


def shares(pids):
    """CPU per second of the daemon and of each QEMU, three times."""
    seconds, found = environment_seconds(20), []
    for _ in range(3):
        before, began = [cpu_seconds(pid) for pid in pids], time.monotonic()
        time.sleep(seconds)
        passed = time.monotonic() - began
        found.append([(b - a) / passed for a, b in zip(before, map(cpu_seconds, pids))])
    return median([f[0] for f in found]), median([sum(f) for f in found])


def ours(report):
    """Microseconds of CPU a VM and sample, libvirt's (in the daemon) and QEMU's part included: what all
    of them use with sampling, less what they use when hardly anything is sampled. A paused QEMU wakes
    once a second, whoever watches it."""
    settings = {"ksm_tuner": "off"}
    with Rig(settings={**settings, "sample_interval_ms": 600000, "dear_sample_interval_ms": 3600000}) as rig:
        qemus = [qemu_pid(vm) for vm in paused_vms(rig, VMS)]
        time.sleep(SETTLE_SECONDS)  # what libvirt still does after the last start
        rest, rest_total = shares([rig.pid, *qemus])
        rig.stop()
        rig.settings = settings
        rig.start()
        eventually(lambda: sum("process" in i and "hypervisor_sampled_at" in i
                               for i in rig.api.get("/v1/stats").json["items"]) == VMS, 600, "all are sampled")
        time.sleep(DEBT_SECONDS)  # the first readings of all were made at once; their debt is paid
        own, total = shares([rig.pid, *qemus])
        text = rig.api.get("/metrics").text
        took, ticks, dear, reads = (float(re.search(rf"^drover_sampler_{name} (\S+)", text, re.M)[1]) for name in (
            "seconds_total", "ticks_total", "dear_seconds_total", "dear_readings_total"))
        report.note(f"of it by the clock: {1e6 * took / ticks / VMS:.0f} us a VM and tick, {1000 * dear / reads:.1f} ms "
                    "a reading through libvirt")
        report.note(f"{VMS} VMs at 1 Hz: droverd with libvirt in it {100 * own:.2f} % of a core, all QEMUs "
                    f"{100 * (total - own):.2f} %; without sampling {100 * rest:.2f} and "
                    f"{100 * (rest_total - rest):.2f} %")
        cost = total - rest_total
        report.note(f"so sampling costs {1e6 * cost / VMS:.0f} us of CPU a VM and sample")
        report.target("sampling at 1 Hz, everybody's share", 100 * cost, 1, "% of a core")
        return 1e6 * cost / VMS


DOMAIN = """<domain type='{kind}'><name>peer-{number}</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>
<os><type machine='q35'>hvm</type></os><devices><interface type='user'><model type='virtio'/></interface>
<serial type='pty'/><memballoon model='virtio'/></devices></domain>"""


def theirs(report):
    """The same kind of VMs in a libvirtd, as the exporter wants them."""
    kind = "kvm" if "kvm" in accelerations() else "qemu"
    with Libvirtd(driver="qemu+unix:///session") as libvirtd:
        try:
            for number in range(VMS):
                file = libvirtd.dir / "peer.xml"
                file.write_text(DOMAIN.format(kind=kind, number=number))
                file.chmod(0o644)
                libvirtd.virsh("create", "--paused", str(file))
            return 1000 * peer_ms(report, libvirtd, [processes(f"guest=peer-{n},")[0] for n in range(VMS)])
        finally:
            for number in range(VMS):
                libvirtd.virsh("destroy", f"peer-{number}", check=False)


def sample(report):
    mine, peer = ours(report), theirs(report)
    report.note(f"the peer: {peer:.0f} us of CPU a VM and reading")
    report.target("less CPU a VM than the peer's reading", peer / mine, 20, "times", at_least=True)


# ---- a scrape ----

def scrape(report):
    with Daemon(libvirt="test:///default") as daemon:
        fill(daemon, SCRAPED, start=True)
        api = Api(daemon)
        eventually(lambda: len(json.loads(api.call("GET", "/v1/stats"))["items"]) == SCRAPED, 120, "all are sampled")
        for path in ("/metrics", "/metrics?compat=libvirt"):
            times, before = [], cpu_seconds(daemon.pid)
            for _ in range(SCRAPES):
                began = time.monotonic()
                text = api.call("GET", path)
                times.append(1000 * (time.monotonic() - began))
            cpu = 1000 * (cpu_seconds(daemon.pid) - before) / SCRAPES
            report.note(f"{path}: {len(text) // 1000} kB, {text.count(b'drover_vm') or text.count(b'libvirt_')} lines; "
                        f"CPU of the daemon {cpu:.1f} ms each, p99 {percentile(times, 0.99):.1f} ms")
            report.target(f"{path} of {SCRAPED} VMs, median", median(times), 30, "ms")


# ---- history ----

def history(report):
    where = tempfile.mkdtemp(prefix="drover-history-")
    try:
        answer = run_json(PROGRAMS / "history_bench", where, 1000, timeout=1200)
    finally:
        shutil.rmtree(where, ignore_errors=True)
    assert answer["dropped"] == 0, answer
    report.note("a dozen VMs through a month at 1 Hz, half idle, a third light, a sixth restless in all; "
                f"{answer['month_bytes_each'] / 1024:.1f} KiB each")
    report.target("disk a month, 1000 VMs", answer["month_bytes_each"] * 1000 / 1048576, 64, "MiB")
    report.target("CPU to take in and write, 1000 VMs at 1 Hz", 100 * answer["hour_cpu_seconds"] / 3600, 1, "% of a core")


def density(report):
    done = subprocess.run([sys.executable, Path(__file__).with_name("stats_density.py")], check=False)
    report.missed += done.returncode != 0


def main():
    parts = {"sample": sample, "scrape": scrape, "history": history, "density": density}
    report = Report("stats")
    for name in sys.argv[1:] or parts:
        parts[name](report)
    report.end()


main()
