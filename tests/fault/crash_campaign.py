#!/usr/bin/python3
"""Kills a daemon at named points under load, again and again, and looks whether all is as promised.

    tests/fault/crash_campaign.py --seed 1 --kills 1000
    tests/fault/crash_campaign.py --seed 1 --kills 50 --points lease.claimed,pool.intent --double

The last line is JSON. Ends with 1 at the first thing that is wrong, and says how to see it again.
"""
import argparse
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "support"), str(TESTS / "fault")]
os.environ["DROVER_BUILD"] = os.environ.get("DROVER_CRASH_BUILD") or os.environ.get("DROVER_BUILD", str(TESTS.parent / "build"))

# pylint: disable=wrong-import-position
import crash_checks  # noqa: E402
from crash_checks import Checks, quiet  # noqa: E402
from crash_clients import Client, Ledger, Load, furnish, weights_for  # noqa: E402
from crash_lab import Lab, Violation  # noqa: E402
from crash_points import BUGS, POINTS  # noqa: E402

LIFE_SECONDS = 1.5
ACTIONS = 48
CLIENTS = 4
# How often a point may be passed before it is fatal; the others are fatal at once or the second time.
OFTEN = {"db.": 30, "event.": 12, "operation.": 8, "api.": 12, "create.": 3, "start.": 3, "recovery.applied": 8,
         "image.part": 1}
AT_START = ("recovery.", "start.sockets", "start.listening", "link.back")
# Not in a campaign: they need a boot of the host, a new database, a lost libvirtd: see test_crash_elsewhere.py.
# A pool's template needs QEMU's saved memory: test_qemu_faults.py.
ELSEWHERE = ("lease.new-boot", "db.migration", "db.migrated", "link.lost", "stop.begun", "pool.template",
             "reimage.cleared", "db.backup-written", "db.backup-renamed", "recovery.swept")


def often(point):
    for prefix, times in OFTEN.items():
        if point.startswith(prefix):
            return times
    return 2


def at_start(point):
    return point.startswith(AT_START)


class Campaign:
    def __init__(self, args):
        self.args, self.rng = args, random.Random(args.seed)
        self.points = [p for p in (args.points.split(",") if args.points else POINTS) if args.points or p not in ELSEWHERE]
        self.lab = Lab(bug=args.bug, power_cut=args.power_cut)
        self.ledger, self.kills = Ledger(), dict.fromkeys([*POINTS, "anywhere"], 0)
        self.life, self.checks, self.clients, self.point = 0, None, [], None
        self.misses, self.spent = {}, dict.fromkeys(("load", "start", "checks", "settling"), 0.0)

    def total(self):
        """Those that count: at the named points, unless any moment will do."""
        return sum(self.kills.values()) - (0 if self.args.anywhere else self.kills["anywhere"])

    def run(self):
        lab = self.lab
        lab.start()
        furnish(lab, quiet)
        self.checks = Checks(lab)
        if self.args.bug:  # it is to be seen, and soon
            self.checks.patience, crash_checks.SETTLE_SECONDS = 2, 5
        self.clients = [Client(n, self.ledger, lab.state / "drover.sock") for n in range(CLIENTS)]
        self.checks.all()
        deadline = time.monotonic() + self.args.seconds if self.args.seconds else None
        while self.total() < self.args.kills and not (deadline and time.monotonic() > deadline):
            self.one_life()
        self.checks.secrets()
        return self.checks.resources()

    def next_point(self):
        """The one that was fatal least often; when it cannot be reached it is not asked for for ever."""
        if self.args.anywhere:
            return None
        return min(self.points, key=lambda p: (self.kills[p] + self.misses.get(p, 0), self.rng.random()))

    def spend(self, what, since):
        now = time.monotonic()
        self.spent[what] += now - since
        return now

    def one_life(self):
        lab, self.life = self.lab, self.life + 1
        self.point = point = self.next_point()
        times = self.rng.randint(1, often(point)) if point else 1
        load = Load(self.clients, self.args.seed, self.life, weights_for(point), ACTIONS)
        if point and not at_start(point):
            lab.control.arm(point, times)
        begin = time.monotonic()
        moment = begin + (self.rng.random() * 0.08 if not point or at_start(point) else LIFE_SECONDS)
        load.run(lab, moment)
        if lab.alive():
            lab.kill()
            self.kills["anywhere"] += 1
            if point and not at_start(point):
                self.misses[point] = self.misses.get(point, 0) + 1
        else:
            lab.buried()
            self.kills[point] += 1
        load.join()
        self.spend("load", begin)
        self.recover(point if point and at_start(point) else None, times)

    def recover(self, point, times):
        lab, begin = self.lab, time.monotonic()
        if self.args.double and not point:
            point, times = self.rng.choice([p for p in POINTS if at_start(p)] + ["db.before-commit", "db.committed"]), 1
        lab.control.arm(point, times)
        died = not lab.start()
        if not died and point and not lab.alive():
            lab.buried()
            died = True
        if died:
            self.kills[point] += 1
        lab.control.arm()
        if died and not lab.start():
            raise Violation(f"it died without being told to; {lab.log()}")
        if not lab.alive():
            lab.buried()
            self.kills[point] += 1
            lab.start()
        begin = self.spend("start", begin)
        self.checks.all()
        begin = self.spend("checks", begin)
        self.ledger.settle(lab.link)
        quiet(lab)
        self.ledger.check(lab)
        self.spend("settling", begin)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=0, help="end after so long, however many kills it were")
    parser.add_argument("--points", help="only these, separated by commas")
    parser.add_argument("--double", action="store_true", help="die once more while recovering")
    parser.add_argument("--anywhere", action="store_true", help="at random moments instead of named points")
    parser.add_argument("--power-cut", action="store_true", help="what was not synced is lost with each death")
    parser.add_argument("--bug", choices=sorted(BUGS), help="with this mistake compiled in and made")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended, too
    campaign, begin, why, resources = Campaign(args), time.monotonic(), None, None
    try:
        resources = campaign.run()
    except (Violation, OSError) as error:
        why = f"{type(error).__name__}: {error}"
    finally:
        campaign.lab.close()
    seconds = time.monotonic() - begin
    starts = sorted(campaign.lab.starts) or [0]
    result = {"seed": args.seed, "kills": campaign.total(), "seconds": round(seconds, 1), "violation": why and why[:300],
              "point": campaign.point, "answered": campaign.ledger.answered, "repeated": campaign.ledger.repeated,
              "ready_ms_p50": round(1000 * starts[len(starts) // 2]), "ready_ms_max": round(1000 * starts[-1]),
              "never": [] if args.anywhere else [p for p in campaign.points if not campaign.kills[p]],
              "spent": {k: round(v, 1) for k, v in campaign.spent.items()},
              "missed": campaign.misses, "elsewhere": campaign.kills["anywhere"], "by_point": {p: n for p, n in campaign.kills.items() if n}, "resources": resources}
    if why:
        print(f"after {campaign.total()} kills, at {campaign.point}: {why}\nagain: {' '.join(sys.argv)}"
              f"{'' if '--seed' in sys.argv else f' --seed {args.seed}'}")
    print(json.dumps(result))
    return 1 if why else 0


if __name__ == "__main__":
    sys.exit(main())
