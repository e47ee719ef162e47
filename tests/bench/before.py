#!/usr/bin/python3
"""What everything since an older commit costs: droverd of its build beside this one's, in turns.

    git worktree add OLD COMMIT; meson setup --buildtype=release OLD/build OLD; ninja -C OLD/build droverd
    DROVER_BENCH_BEFORE=OLD/build tests/bench/run before
"""
import os
import sys
import time
from pathlib import Path

from bench import Api, Daemon, Report, cpu_seconds, environment_seconds, median, paced

ROUNDS, EACH, VMS = 9, 10, 1000


class Side:
    def __init__(self, build):
        # The first word that a wrapper is given is the program of this build.
        wrapper = ["sh", "-c", 'shift; exec "$0" "$@"', Path(build, "droverd")] if build else ()
        self.daemon = Daemon(libvirt="test:///default", wrapper=wrapper).start()
        self.api, self.made = Api(self.daemon), 0
        vm = self.create()
        self.path, self.token = f"/v1/vms/{vm['id']}", self.daemon.admin_token()
        self.seen = {}

    def create(self):
        vm = self.api.create(f"vm-{self.made}")
        self.api.finish(vm["operation"])
        self.made += 1
        return vm

    def note(self, what, value):
        self.seen.setdefault(what, []).append(value)

    def get(self, seconds):
        before = cpu_seconds(self.daemon.pid)
        result = paced(self.daemon.address, self.path, self.token, 0, seconds)
        self.note("GET of a VM, us", 1e6 / result["per_second"])
        self.note("GET of a VM, us of CPU", 1e6 * (cpu_seconds(self.daemon.pid) - before) / result["requests"])

    def write(self):
        cpu, began = cpu_seconds(self.daemon.pid), time.monotonic()
        for _ in range(EACH):
            self.create()
        self.note("POST of a VM until its operation is finished, ms", 1000 * (time.monotonic() - began) / EACH)
        self.note("the same, ms of CPU", 1000 * (cpu_seconds(self.daemon.pid) - cpu) / EACH)

    def fill(self):
        self.api = Api(self.daemon)
        while self.made < VMS:
            self.create()

    def list(self):
        began = time.monotonic()
        self.api.call("GET", f"/v1/vms?limit={VMS}")
        self.note(f"GET of {VMS} VMs, ms", 1000 * (time.monotonic() - began))

    def memory(self):
        lines = Path(f"/proc/{self.daemon.pid}/status").read_text().splitlines()
        self.note(f"anonymous memory with {VMS} VMs, MiB", int(next(x for x in lines if x.startswith("RssAnon")).split()[1]) / 1024)


def main():
    report, seconds, before = Report("before"), environment_seconds(0.7), os.environ.get("DROVER_BENCH_BEFORE")
    if not before:
        sys.exit(__doc__)
    sides = {}
    try:
        for name, build in (("before", before), ("now", None)):
            sides[name] = Side(build)
        for step in (lambda s: s.get(seconds), Side.write):
            for _ in range(ROUNDS):
                for side in sides.values():
                    step(side)
        for side in sides.values():
            side.fill()
        for side in sides.values():
            side.api = Api(side.daemon)  # the one before it was idle for too long
        for step in (Side.list, Side.memory):
            for _ in range(ROUNDS):
                for side in sides.values():
                    step(side)
        for what, old in sides["before"].seen.items():
            new = sides["now"].seen[what]
            share = median([100 * n / o for o, n in zip(old, new)])
            report.note(f"{what}: before {median(old):.2f}, now {median(new):.2f}, which is {share:.0f} %")
    finally:
        for side in sides.values():
            side.daemon.close()
    report.end()


main()
