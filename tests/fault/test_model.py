"""Histories of random clients on few VMs are linearizable; and the judge tells right from wrong.

The campaigns run as programs of their own (model_campaign.py), so that one that fails can be run again
alone. A history that was wrong once is kept in histories/, and must be seen to be.
"""
import json
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from api_client import Client
from linear import Call, Search, torn
from model_clients import load
from vm_model import VmModel

HERE = Path(__file__).resolve().parent
PATIENCE = 3600
SECONDS = 4       # of an ordinary run, --long: forty times that
BUG_SECONDS = 30  # a mistake has to be seen within that, most are in two


def campaign(*arguments):
    return subprocess.Popen([sys.executable, HERE / "model_campaign.py", *map(str, arguments)], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def result(process):
    output, _ = process.communicate(timeout=PATIENCE)
    last = output.rstrip().splitlines()[-1] if output.strip() else ""
    assert last.startswith("{"), output[-6000:]
    return process.returncode, json.loads(last), output


def judged(rows):
    """rows: (begin, end, request, answer); None when they are as the model could have done."""
    calls = [Call(*row) for row in rows]
    return Search(calls, VmModel(calls)).run()


# ---- the judge ----

CREATE = (0, 1, ("create", None, False, "x", ""), ("created", "A", "stopped"))
START = (2, 3, ("act", None, "start", None, None), ("accepted", "s"))
STARTED = (4, 5, ("operation", "s"), ("state", "succeeded"))
STOP = (6, 7, ("act", None, "stop", None, None), ("accepted", "t"))


def read(begin, state, generation=1, description="x", vm="A", end=None):
    return (begin, end or begin + 0.5, ("read", None), ("vm", vm, generation, description, state))


def patch(begin, end, description, generation=None, answer=None):
    return (begin, end, ("patch", "A", description, generation), answer)


def listed(begin, *vms):
    return (begin, begin + 0.5, ("list",), ("list", vms))


def act(begin, verb, operation):
    return (begin, begin + 0.5, ("act", "A", verb, None, None), ("accepted", operation))


def ended(begin, operation, state="succeeded"):
    return (begin, begin + 0.5, ("operation", operation), ("state", state))


def delete(begin, end, answer, key=None):
    return (begin, end, ("act", "A", "delete", key, None), answer)


GONE = ("refused", "vm-not-found")
RIGHT = {
    "a life": [CREATE, START, STARTED, read(5.5, "running"), STOP, (8, 9, ("operation", "t"), ("state", "succeeded")),
               read(10, "stopped"), delete(11, 12, ("accepted", "d")), read(13, "deleting"), read(14, "deleting"),
               (15, 16, ("read", "A"), GONE), (17, 18, ("operation", "d"), ("state", "succeeded"))],
    "two writes at once, in either order": [CREATE, patch(2, 5, "b", None, ("vm", "A", 3, "b", "stopped")),
                                            patch(2, 5, "c", None, ("vm", "A", 2, "c", "stopped")),
                                            read(6, "stopped", 3, "b")],
    "one of two with the same ETag": [CREATE, patch(2, 5, "b", 1, ("refused", "precondition-failed")),
                                      patch(2, 5, "c", 1, ("vm", "A", 2, "c", "stopped"))],
    "a lost answer that was a write": [CREATE, patch(2, 5, "b"), read(6, "stopped", 2, "b")],
    "a lost answer that was none": [CREATE, patch(2, 5, "b"), read(6, "stopped")],
    "a lost creation, found by its name": [CREATE[:3] + (None,), read(2, "stopped", vm="B")],
    "a key sent twice": [(0, 5, ("create", "k", True, "x", ""), ("created", "A", "starting")),
                         (0, 5, ("create", "k", True, "x", ""), ("created", "A", "running"))],
    "a name that is free with the deletion's promise": [
        CREATE, delete(2, 3, ("accepted", "d")), (4, 5, ("create", None, False, "y", ""), ("created", "B", "stopped")),
        (6, 7, ("read", "A"), ("vm", "A", 1, "x", "deleting")), read(8, "stopped", 1, "y", "B")],
    "power lost with libvirt": [CREATE, START, STARTED, (6, 7, ("link", "down"), ("done",)), read(8, "running"),
                                read(9, "stopped"), (10, 11, ("link", "up"), ("done",)), read(12, "stopped")],
    "a start overtaken by the stop before it": [
        CREATE, START, STARTED, STOP, (6, 7, ("act", None, "stop", None, None), ("accepted", "u")), read(8, "stopped"),
        (9, 10, ("act", None, "start", None, None), ("accepted", "v")), read(11, "stopped"), read(12, "running")],
    "saved, and started with what was saved": [
        CREATE, START, STARTED, act(6, "save", "v"), ended(7, "v"), read(8, "saved"), act(9, "start", "w"),
        ended(10, "w"), read(11, "running")],
    "shut down, and somebody looks meanwhile": [
        CREATE, START, STARTED, act(6, "shutdown", "v"), read(7, "stopping"), ended(8, "v", "unfinished"),
        read(9, "stopped"), ended(10, "v", "unfinished"), ended(11, "v"), read(12, "stopped")],
    "a stop of one that was saved": [CREATE, START, STARTED, act(6, "save", "v"), ended(7, "v"), act(8, "stop", "w"),
                                     ended(9, "w"), read(10, "stopped")],
    "a list of one that goes and one that comes": [
        CREATE, delete(2, 3, ("accepted", "d")), (4, 5, ("create", None, False, "y", ""), ("created", "B", "stopped")),
        listed(6, ("A", 1, "x", "deleting"), ("B", 1, "y", "stopped")), listed(7, ("B", 1, "y", "stopped"))],
}
WRONG = {
    "a stale read after an acknowledged write": [
        CREATE, patch(2, 3, "b", None, ("vm", "A", 2, "b", "stopped")), read(4, "stopped")],
    "two reads that go back in time": [CREATE, patch(2, 9, "b", None, ("vm", "A", 2, "b", "stopped")),
                                       read(4, "stopped", 2, "b"), read(6, "stopped")],
    "a lost write": [CREATE, patch(2, 3, "b", None, ("vm", "A", 2, "b", "stopped")),
                     patch(4, 5, "c", None, ("vm", "A", 2, "c", "stopped"))],
    "both of two with the same ETag": [CREATE, patch(2, 5, "b", 1, ("vm", "A", 2, "b", "stopped")),
                                       patch(2, 5, "c", 1, ("vm", "A", 2, "c", "stopped"))],
    "a lost deletion": [CREATE, delete(2, 3, ("accepted", "d")),
                        (4, 5, ("operation", "d"), ("state", "succeeded")), read(6, "stopped")],
    "a deletion that is not over and its VM is gone, then back": [
        CREATE, delete(2, 3, ("accepted", "d")), (4, 5, ("read", "A"), GONE), (6, 7, ("read", "A"),
                                                                            ("vm", "A", 1, "x", "deleting"))],
    "a lost creation": [CREATE, (2, 3, ("read", None), GONE)],
    "a key executed twice": [(0, 1, ("create", "k", False, "x", ""), ("created", "A", "stopped")),
                             delete(2, 3, ("accepted", "d")),
                             (4, 5, ("create", "k", False, "x", ""), ("created", "B", "stopped"))],
    "an operation's key executed twice": [CREATE, (2, 3, ("act", "A", "start", "k", None), ("accepted", "s")), STARTED,
                                          (6, 7, ("act", "A", "start", "k", None), ("accepted", "t"))],
    "a start that is answered twice": [CREATE, START, (4, 5, ("act", None, "start", None, None), ("accepted", "t"))],
    "a start that has succeeded and does not show": [CREATE, START, STARTED, read(6, "stopped")],
    "a start that never was": [CREATE, read(2, "running")],
    "a name that two have": [CREATE, (2, 3, ("create", None, False, "y", ""), ("created", "B", "stopped"))],
    "an effect after the daemon's death": [CREATE, patch(2, 3, "b"), read(4, "stopped"), read(5, "stopped", 2, "b")],
    "a lost answer that was a write twice": [CREATE, patch(2, 3, "b"), read(4, "stopped", 3, "b")],
    "an end that changes": [CREATE, START, STARTED, (6, 7, ("operation", "s"), ("state", "unfinished"))],
    "two ends": [CREATE, START, STARTED, (6, 7, ("operation", "s"), ("state", "failed"))],
    "power lost without a reason": [CREATE, START, STARTED, read(6, "stopped")],
    "a refusal without a reason": [CREATE, (2, 3, ("act", None, "start", None, None), ("refused", "vm-state-conflict"))],
    "libvirt is said to be away and is not": [
        CREATE, (2, 3, ("act", None, "start", None, None), ("refused", "hypervisor-unavailable"))],
    "saved, and running by itself": [CREATE, START, STARTED, act(6, "save", "v"), ended(7, "v"), read(8, "running")],
    "shut down, and on again by itself": [CREATE, START, STARTED, act(6, "shutdown", "v"), ended(7, "v"), read(8, "running")],
    "a shutdown that has succeeded and does not show": [CREATE, START, STARTED, act(6, "shutdown", "v"), ended(7, "v"),
                                                        read(8, "stopping")],
    "a shutdown whose guest was started after it and shut down again": [
        CREATE, START, STARTED, act(6, "shutdown", "v"), read(7, "stopped"), act(8, "start", "w"), ended(9, "w"),
        read(10, "stopped")],
    "a list without one that is there": [CREATE, listed(2)],
    "a list of what one was": [CREATE, patch(2, 3, "b", None, ("vm", "A", 2, "b", "stopped")),
                               listed(4, ("A", 1, "x", "stopped"))],
    "a list in which one is that came after another went": [
        CREATE, delete(2, 3, ("accepted", "d")), (4, 5, ("operation", "d"), ("state", "succeeded")),
        (6, 7, ("create", None, False, "y", ""), ("created", "B", "stopped")),
        listed(8, ("A", 1, "x", "deleting"), ("B", 1, "y", "stopped"))],
    "the etag without a change": [CREATE, read(2, "stopped", 2)],
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_histories_are_accepted(name):
    assert judged(RIGHT[name]) is None


@pytest.mark.parametrize("name", WRONG)
def test_wrong_histories_are_rejected(name):
    assert judged(WRONG[name])


def test_lists_that_no_moment_explains():
    assert torn([{"a": 1, "b": 2}, {"a": 2, "b": 1}]) == {"a": (2, 1), "b": (1, 2)}
    assert torn([{"a": 1, "b": 1}, {"a": 2, "b": 1}, {"a": 2, "b": 2}, {"c": 1}, {"a": 3}]) is None


@pytest.mark.parametrize("path", sorted((HERE / "histories").iterdir()), ids=lambda p: p.stem)
def test_histories_of_real_daemons(path):
    """What was wrong, before it was mended, and what was right and once thought not to be."""
    calls = load(path)
    wrong = Search(calls, VmModel(calls)).run()
    assert (wrong is not None) == path.name.startswith("wrong-"), wrong


def test_every_lost_write_is_seen():
    """One acknowledged change left out of a right history makes it wrong, wherever it was."""
    rng, rows, generation = random.Random(7), [CREATE], 1
    for i in range(20):
        generation += 1
        rows.append(patch(2 + 2 * i, 3 + 2 * i, f"d{i}", None, ("vm", "A", generation, f"d{i}", "stopped")))
    rows.append(read(50, "stopped", generation, f"d{19}"))
    assert judged(rows) is None
    for at in rng.sample(range(1, 21), 8):
        assert judged(rows[:at] + rows[at + 1:])


# ---- the daemon ----


def seed():
    """Always the same in a run that others wait for; --long looks elsewhere each time."""
    return int(os.environ.get("DROVER_SEED") or (random.SystemRandom().randrange(1 << 31) if os.environ.get("DROVER_TEST_LONG")
                                                 else 41))


def test_histories_are_linearizable(libvirtd, long):
    """Kills of the daemon, restarts of libvirtd, neither; six clients on three VMs."""
    del libvirtd  # only whether there is one: each campaign has its own
    first, seconds = seed(), SECONDS * (40 if long > 1 else 1)
    results = [result(p) for p in [campaign("--seed", first + n, "--lives", 100000, "--seconds", seconds)
                                   for n in range(2)]]
    for code, figures, output in results:
        # A history may be too entangled to be judged in time; that is to be seldom.
        assert code == 0 and figures["undecided"] <= 1 + figures["rounds"] // 4, output[-8000:]
    print(f"{sum(f['calls'] for _, f, _ in results)} calls in {sum(f['rounds'] for _, f, _ in results)} rounds, "
          f"{[f['lives'] for _, f, _ in results]}, seeds {[f['seed'] for _, f, _ in results]}")
    assert sum(f["calls"] for _, f, _ in results) > 300


# Those of the twenty mistakes that a client can see in what it is told.
SEEN = ("drop-key", "change-in-memory", "forget-operations", "operation-apart", "late-commit")


@pytest.mark.skipif(not os.environ.get("DROVER_CRASH_BUILD"),
                    reason="DROVER_CRASH_BUILD names no build with -Dcrashpoints=true")
def test_mistakes_are_noticed(libvirtd, long):
    del libvirtd
    first = seed()
    bugs = SEEN if long > 1 else random.Random(first).sample(SEEN[:4], 2)
    running = [(bug, campaign("--seed", first, "--bug", bug, "--lives", 100000, "--seconds", BUG_SECONDS)) for bug in bugs]
    for bug, process in running:
        code, figures, output = result(process)
        print(f"{bug}: {figures['violation']} (after {figures['calls']} calls, {figures['seconds']} s)")
        assert code == 1 and figures["violation"], f"{bug} was not noticed: {output[-2000:]}"


def test_equal_requests_at_once(libvirtd, make_daemon):
    """With one key, sent by eight at the same moment: one effect, and all are told of it, none is refused.

    Once the second one could be told that the VM is not stopped any more, which the first one had seen to.
    """
    daemon = make_daemon(libvirt=libvirtd.uri).start()
    api = Client(daemon.url, daemon.admin_token())
    assert api.post("/v1/vms", {"name": "one", "memory_mib": 16}).status == 201
    for turn in range(24):
        verb = ("start", "stop", "start", "pause", "resume", "stop")[turn % 6]
        barrier, told = threading.Barrier(8), []

        def ask(verb=verb, key=f"k{turn}", barrier=barrier, told=told):
            barrier.wait(30)
            told.append(api.post(f"/v1/vms/one/{verb}", headers={"Idempotency-Key": key}))
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert [r.status for r in told] == [202] * 8, told
        assert len({r.json["id"] for r in told}) == 1, told
        answer = api.get(f"/v1/operations/{told[0].json['id']}", wait=20)
        assert answer.status == 200 and answer.json["state"] == "succeeded", answer
