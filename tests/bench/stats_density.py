#!/usr/bin/python3
"""Identical Linux guests: what the auto tuner saves and costs beside KSM off and beside ksmtuned.

BENCH_DENSITY_GUESTS (6) guests of 128 MiB under emulation, once for each of: merging off, Drover's tuner,
Debian's ksmtuned with its own configuration, and the same told that memory is short (as it is when
one needs it: KSM_THRES_COEF=100), since with memory to spare it does nothing. The script is looked
for in PATH or where KSMTUNED says; its package need not be installed. Root only; the knobs are put
back exactly. DROVER_DEMO_IMAGE names a directory with the image; without it one is made."""
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / p) for p in ("qemu", "support", "guests", "contract")]

from bench import Report  # noqa: E402
from rig import Rig, build_demo, eventually, qemu_pid  # noqa: E402

KSM = Path("/sys/kernel/mm/ksm")
CLAIM = Path("/run/drover-ksm")
GUESTS = int(os.environ.get("BENCH_DENSITY_GUESTS", 6))
LIMIT = int(os.environ.get("BENCH_DENSITY_SECONDS", 240))  # for those that do not settle
QUIET = 20  # seconds without a gain: what could merge has merged
PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / 1048576


# ---- the kernel's knobs ----

def knobs():
    found = {p.name: p.read_text().strip() for p in KSM.iterdir() if p.stat().st_mode & 0o200}
    if "advisor_mode" in found:
        found["advisor_mode"] = re.search(r"\[(.+)\]", found["advisor_mode"])[1]
    return found


def put_back(found):
    """The advisor last: while it is on, the kernel refuses pages_to_scan."""
    if "advisor_mode" in found:
        (KSM / "advisor_mode").write_text("none")
    for name, value in found.items():
        if name == "advisor_mode" or (KSM / name).read_text().strip() == value:
            continue
        (KSM / name).write_text(value)
    if "advisor_mode" in found:
        (KSM / "advisor_mode").write_text(found["advisor_mode"])
    assert knobs() == found, (knobs(), found)


def at_rest():
    """As a kernel boots, but for what other programs use."""
    if (KSM / "advisor_mode").exists():
        (KSM / "advisor_mode").write_text("none")
    for name, value in (("run", 0), ("pages_to_scan", 100), ("sleep_millisecs", 20), ("use_zero_pages", 0)):
        if (KSM / name).exists():
            (KSM / name).write_text(str(value))


class Claim:
    """Held while somebody else's tuner is measured, so that no Drover on this host turns the knobs, too."""

    def __enter__(self):
        self.file = open(CLAIM, "a+", encoding="utf-8")
        end = time.monotonic() + 120
        while True:
            try:
                fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return self
            except BlockingIOError:
                assert time.monotonic() < end, "a Drover on this host tunes KSM: stop it first"
                time.sleep(0.5)

    def __exit__(self, *_):
        self.file.close()


def ksmd_seconds():
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue
        if "(ksmd)" in text:
            fields = text.rsplit(")", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    raise AssertionError("there is no ksmd")


# ---- the guests ----

def merged_mib(pids):
    total = 0
    for pid in pids:
        text = Path(f"/proc/{pid}/ksm_stat").read_text()
        for name in ("ksm_merging_pages", "ksm_zero_pages"):
            found = re.search(rf"^{name} (\d+)$", text, re.M)
            total += int(found[1]) if found else 0
    return total * PAGE_MIB


def used_mib(pids):
    """Each page once, however many share it."""
    return sum(int(re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)[1])
               for pid in pids) / 1024


class Run:
    def __init__(self, name):
        self.name, self.points, self.used = name, [], None  # points: (seconds, ksmd's, merged MiB)

    def watch(self, rig, settled):
        """From the first guest's start until settled(points)."""
        began, cpu, pids, stop = time.monotonic(), ksmd_seconds(), [], threading.Event()

        def look():
            while not stop.is_set():
                self.points.append((time.monotonic() - began, ksmd_seconds() - cpu, merged_mib(pids)))
                stop.wait(0.5)

        looking = threading.Thread(target=look)
        looking.start()
        try:
            made = []
            for _ in range(GUESTS):
                made.append(rig.create("demo", memory_mib=128, wait="running"))
                pids.append(qemu_pid(made[-1]["id"]))
            for vm in made:
                eventually(lambda v=vm: "#" in rig.api.get(f"/v1/vms/{v['id']}/console/log").text, 300, "a prompt")
            self.booted = time.monotonic() - began
            eventually(lambda: settled(self), 1800, "the end", every=0.5)
        finally:
            stop.set()
            looking.join()
        self.used = used_mib(pids)
        return self

    @property
    def merged(self):
        return self.points[-1][2]

    def when(self, mib):
        return next((p for p in self.points if p[2] >= mib), None)

    def line(self, goal):
        at = self.when(goal)
        reached = (f"90 % merged {at[0]:.0f} s after the first start ({at[0] - self.booted:+.0f} s after the last boot), "
                   f"ksmd {at[1]:.2f} s until then") if at else \
            f"90 % not merged within {self.points[-1][0]:.0f} s of the first start"
        return (f"{self.name}: {self.used:.0f} MiB used, {self.merged:.0f} MiB merged; {reached}; "
                f"in all ksmd {self.points[-1][1]:.2f} s, {self.cost() * 1000:.1f} ms a merged MiB")

    def cost(self):
        return self.points[-1][1] / max(self.merged, 1)


def settled_when_quiet(run):
    now = run.points[-1]
    before = [p for p in run.points if p[0] <= now[0] - QUIET]
    gain = now[2] - before[-1][2] if before else None
    return now[0] > LIMIT + run.booted or (now[0] > run.booted + QUIET and gain is not None and gain < now[2] / 200 + 0.1)


def settled_after(seconds):
    return lambda run: run.points[-1][0] > run.booted + seconds


def with_ksmtuned(script, name, goal, **settings):
    """The real script; it reads its settings from the environment where its file is silent."""
    at_rest()
    with Claim(), tempfile.TemporaryDirectory() as where, Rig(settings={"ksm_tuner": "off"}) as rig:
        rig.ensure_image("demo")
        process = subprocess.Popen(["bash", script], start_new_session=True, stdin=subprocess.DEVNULL,
                                   env={**os.environ, "PIDFILE": f"{where}/pid", **settings})
        process.wait(20)  # its loop goes on behind
        loop = int(Path(f"{where}/pid").read_text())
        try:
            # It looks once a minute: a settled beginning is no end.
            return Run(name).watch(rig, lambda run: bool(goal and run.when(goal)) or settled_after(LIMIT)(run))
        finally:
            os.killpg(os.getpgid(loop), signal.SIGTERM)


def main():
    report = Report("density")
    if not KSM.exists() or os.geteuid():
        report.note("needs KSM and root: not measured")
        report.end()
    where = os.environ.setdefault("DROVER_DEMO_IMAGE", tempfile.mkdtemp(prefix="drover-demo-"))
    build_demo(where)
    found, script = knobs(), os.environ.get("KSMTUNED") or shutil.which("ksmtuned")
    report.note(f"{GUESTS} guests of 128 MiB; {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    try:
        at_rest()
        with Claim(), Rig(settings={"ksm_tuner": "off"}) as rig:
            rig.ensure_image("demo")
            off = Run("merging off").watch(rig, settled_after(5))
        at_rest()
        with Rig(settings={"ksm_tuner": "auto"}) as rig:
            rig.ensure_image("demo")
            auto = Run("Drover, auto").watch(rig, settled_when_quiet)
            phase = rig.api.get("/v1/ksm").json["tuner"]
            assert phase["phase"] not in ("unable", "yielded"), phase
        goal = 0.9 * auto.merged
        report.note(f"{off.name}: {off.used:.0f} MiB used")
        report.note(auto.line(goal))
        if not script:
            report.note("ksmtuned is not installed (or named by KSMTUNED): not compared")
            report.end()
        plain = with_ksmtuned(script, "ksmtuned, Debian's settings", goal)
        report.note(plain.line(goal))
        short = with_ksmtuned(script, "ksmtuned, told that memory is short", goal, KSM_THRES_COEF="100")
        report.note(short.line(goal))
        report.target("memory used, of what it is with merging off", 100 * auto.used / off.used, 100, "%")
        ours, theirs = auto.when(goal)[0], (short.when(goal) or short.points[-1])[0]
        report.target("time to 90 % merged, of ksmtuned's (or more)", 100 * ours / theirs, 100, "%")
        if short.merged > 1:
            at_goal = (auto.when(goal)[1] / auto.when(goal)[2]) / (short.points[-1][1] / short.merged)
            report.target("ksmd's CPU a merged MiB, of ksmtuned's", 100 * at_goal, 100, "%")
    finally:
        put_back(found)
    report.end()


main()
