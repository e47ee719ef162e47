"""An allocation that fails once, at each place where one is made: ours, SQLite's, jansson's, libxml2's, libvirt's.

The walk, and what must be in order afterwards, are those of test_calls.py. A daemon without memory may end, with a word;
it may not go on with a pointer that is none, nor tell a client what is not so.
"""
import os
import random

import pytest
from failing_calls import SHIM
from test_calls import FaultyLab, begun, seed, tell

ALLOCATIONS = ("malloc", "calloc", "realloc")
pytestmark = [pytest.mark.skipif(not SHIM.exists(), reason=f"{SHIM} is not built"),
              pytest.mark.skipif("san" in os.environ.get("DROVER_BUILD", ""), reason="a sanitizer allocates by itself"),
              pytest.mark.skipif(not os.environ.get("DROVER_TEST_LONG"), reason="only with --long")]


@pytest.fixture
def trials(libvirtd, rng):
    del libvirtd  # only whether there is one
    yield from begun(FaultyLab(FAILING_ALLOCATIONS="1"), rng)


def plan(ledger, rng):
    """(site, passes, error): each place, at one of the times that it is passed."""
    passed = {site: n for site, n in ((ledger.site(key), n) for key, n in ledger.counts().items()) if site.call in ALLOCATIONS}
    faults = [(site, rng.randrange(passed[site]), "ENOMEM") for site in sorted(passed)]
    rng.shuffle(faults)
    print(f"{len(faults)} places", flush=True)
    return faults


def test_an_allocation_fails_under_way(trials):
    trials.rng = random.Random(seed())
    ledger = trials.lab.ledger
    ledger.forget_counts()
    trials.walk()
    trials.settle()
    faults = plan(ledger, trials.rng)
    came = sum(trials.one(*fault) for fault in faults)
    tell(trials, faults, came)
    assert came > len(faults) // 2, "most of the failures that were asked for came"


def test_an_allocation_fails_at_the_start_or_the_stop(trials):
    trials.rng = random.Random(seed())
    trials.passed_at_start()
    faults = plan(trials.lab.ledger, trials.rng)
    came = sum(trials.one(*fault, at_start=True) for fault in faults)
    tell(trials, faults, came)
    assert came > len(faults) // 2, "most of the failures that were asked for came"
