"""The harness sees: twenty mistakes, each made on purpose in a build of its own kind, and noticed.

Without --long three of them, another three in each run; at least nineteen of the twenty must be seen.
"""
import json
import random

from crash_points import BUGS
from test_crash_points import campaign, needs_crash_build, seed

KILLS, SECONDS = 400, 60
# Where a mistake shows first. What is not here is looked for at every point.
SLOW = {"lease-forever"}  # seen ten seconds after a lease's end, at the soonest
WHERE = {"effect-before-row": "create.asked", "drop-key": "create.intent,api.answer", "operation-apart": "create.intent",
         "skip-resume": "start.paused", "change-in-memory": "db.committed,api.answer", "same-cid": "create.intent",
         "bury-first": "delete.destroyed,delete.undefined", "keep-files": "delete.stored", "keep-cid": "delete.stored",
         "late-commit": "api.answer,create.intent", "skip-sync": "api.answer,create.intent",
         "forget-event": "event.stored", "hand-out-twice": "lease.claim-stored",
         "renew-in-memory": "lease.renewal-stored", "lease-early": "lease.claim-stored",
         "lease-forever": "lease.claim-stored,lease.renewal-stored", "no-doubt": "image.linked",
         "writable-image": "image.ready-stored", "sweep-foreign": "image.intent", "forget-operations": "create.intent"}
MORE = {"skip-sync": ["--power-cut"]}


def start(bug, number):
    return campaign("--seed", number, "--bug", bug, "--points", WHERE[bug], "--kills", KILLS, "--seconds", SECONDS,
                    *MORE.get(bug, []))


def is_seen(bug, process):
    output, _ = process.communicate(timeout=300)
    assert process.returncode in (0, 1), output[-3000:]
    result = json.loads(output.rstrip().splitlines()[-1])
    print(f"{bug}: {result['violation'] or 'NOT SEEN'} (after {result['kills']} kills, {result['seconds']} s)")
    return process.returncode == 1


@needs_crash_build
def test_mistakes_are_noticed(long):
    first = seed()
    bugs = sorted(BUGS) if long > 1 else random.Random(first).sample(sorted(set(BUGS) - SLOW), 3)
    missed = []
    for n in range(0, len(bugs), 2):  # two at a time
        pair = [(bug, start(bug, first + n)) for bug in bugs[n:n + 2]]
        missed += [bug for bug, process in pair if not is_seen(bug, process)]
    print(f"seed {first}: {len(bugs) - len(missed)} of {len(bugs)} mistakes seen")
    assert len(missed) <= len(bugs) // 20, f"not noticed: {missed}"


def test_every_mistake_has_its_place():
    assert set(WHERE) == set(BUGS) and len(BUGS) == 20
