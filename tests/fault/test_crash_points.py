"""SIGKILL at every named point of a daemon under load, and what must be true after each (I1 to I13).

The campaigns run as programs of their own (crash_campaign.py), several at a time, so that one that fails
can be run again alone: each prints its seed, and the command that repeats it. Most of a kill is waiting
(for a start, for an answer), so there are more of them than cores.
"""
import collections
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from crash_points import BUGS, NUMBERS, POINTS
from daemon import BUILD

HERE = Path(__file__).resolve().parent
CRASH_BUILD = Path(os.environ.get("DROVER_CRASH_BUILD", ""))
RELEASE_BUILD = Path(os.environ.get("DROVER_RELEASE_BUILD") or BUILD)
PATIENCE = 7200
LABS = 4
KILLS_OF_A_LAB = 530

needs_crash_build = pytest.mark.skipif(not os.environ.get("DROVER_CRASH_BUILD"),
                                       reason="DROVER_CRASH_BUILD names no build with -Dcrashpoints=true")


def campaign(*arguments):
    return subprocess.Popen([sys.executable, HERE / "crash_campaign.py", *map(str, arguments)], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def finished(process):
    """Its figures; fails with what it printed when something was wrong."""
    output, _ = process.communicate(timeout=PATIENCE)
    last = output.rstrip().splitlines()[-1] if output.strip() else ""
    assert process.returncode == 0 and last.startswith("{"), output[-6000:]
    return json.loads(last)


def seed():
    """Always the same in a run that others wait for; --long looks elsewhere each time."""
    return int(os.environ.get("DROVER_SEED") or (random.SystemRandom().randrange(1 << 31) if os.environ.get("DROVER_TEST_LONG")
                                                 else 1002))


def together(results):
    total = sum(r["kills"] for r in results)
    slowest = max(r["ready_ms_max"] for r in results)
    print(f"{total} kills, {sum(r['elsewhere'] for r in results)} of them where no point was met in time, in "
          f"{sum(r['seconds'] for r in results) / LABS:.0f} s, {sum(r['answered'] for r in results)} requests "
          f"answered, {sum(r['repeated'] for r in results)} repeated after a kill, ready again after "
          f"{results[0]['ready_ms_p50']} ms (half) and {slowest} ms (all); seeds {[r['seed'] for r in results]}")
    return total


def campaigns(kills, *more):
    """So many kills, in labs side by side, and in new ones before what they keep outgrows a page of its list."""
    first, rounds = seed(), -(-kills // (LABS * KILLS_OF_A_LAB))
    each = kills // (LABS * rounds)
    results = []
    for n in range(0, rounds * LABS, LABS):
        results += [finished(p) for p in [campaign("--seed", first + n + lab, "--kills", each, *more) for lab in range(LABS)]]
    assert together(results) >= each * LABS * rounds
    return results


@needs_crash_build
def test_every_point_under_load(long):
    """--long: two hundred at each point. With the next test and the one of the power, 1,000 in an ordinary run."""
    results = campaigns(200 * len(POINTS) if long > 1 else 700)
    assert not set.intersection(*({*r["never"]} for r in results)), "points that no lab came to"
    seldom, times = min(sum((collections.Counter(r["by_point"]) for r in results), collections.Counter()).items(),
                        key=lambda of: of[1])
    print(f"least often at {seldom}: {times} times")


@needs_crash_build
def test_killed_again_while_it_recovers(long):
    campaigns(2120 if long > 1 else 160, "--double")


@needs_crash_build
def test_killed_at_any_moment(long):
    campaigns(5000 if long > 1 else 80, "--anywhere")


@needs_crash_build
def test_the_power_goes(long):
    """What SQLite wrote and did not sync is undone with each death."""
    points = [p for p in POINTS if p.startswith(("db.", "api.", "event.")) and "backup" not in p and "migrat" not in p]
    campaigns(1000 if long > 1 else 140, "--power-cut", "--points", ",".join(points))


def test_the_release_has_no_crash_point():
    """Neither their names, nor those of the seeded bugs, nor the code that kills."""
    for name in ("droverd", "drover"):
        binary = RELEASE_BUILD / name
        if not binary.exists():
            pytest.skip(f"{binary} is not built")
        data = binary.read_bytes()
        found = [n for n in [*POINTS, *BUGS, "DROVER_CRASH", "DROVER_BUG", "DROVER_POWER_CUT", "fault_crash_point",
                             "drover-fault"] if n.encode() + b"\0" in data]
        assert not found, f"{binary}: {found}"


@needs_crash_build
def test_the_test_build_has_them():
    data = (CRASH_BUILD / "droverd").read_bytes()
    assert not [n for n in POINTS if n.encode() + b"\0" not in data]


def test_every_moment_of_the_design_has_its_point():
    """C01 to U02, fifty-three of them; those that have no counterpart in the code are named here."""
    numbers = {f"{letter}{n:02}" for letter, last in (("C", 12), ("D", 7), ("L", 3), ("P", 3), ("I", 9), ("S", 3),
                                                      ("R", 4), ("B", 6), ("E", 4), ("U", 2)) for n in range(1, last + 1)}
    assert len(numbers) == 53
    assert numbers - set(NUMBERS.values()) == set()
