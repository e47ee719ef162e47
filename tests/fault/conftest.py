"""Fixtures: private libvirtds, daemons to be killed, the seed of a run."""
import os
import random
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "support"), str(TESTS / "contract"), str(TESTS / "guests")]
# gcc's ASan takes the end of a thread whose signal stack libvirt's libraries replaced for an error.
os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":use_sigaltstack=0"

import libvirtd as libvirtd_module  # noqa: E402
from daemon import BUILD, Daemon  # noqa: E402
from libvirt_proxy import LibvirtProxy  # noqa: E402
from libvirtd import Libvirtd  # noqa: E402
from validate import Contract  # noqa: E402

CONTRACT = Contract()
LONG = 10 if os.environ.get("DROVER_TEST_LONG") else 1


def pytest_collection_modifyitems(config, items):
    for item in items:
        if not (BUILD / "droverd").exists():
            item.add_marker(pytest.mark.skip(reason=f"{BUILD / 'droverd'} is not built"))
        elif "libvirtd" in item.fixturenames and not libvirtd_module.available():
            item.add_marker(pytest.mark.skip(reason="libvirtd or virsh is not installed"))


@pytest.fixture(scope="session")
def long():
    """How many times more than usual."""
    return LONG


@pytest.fixture
def rng():
    """DROVER_SEED repeats a run, as far as threads and kills can be repeated."""
    seed = int(os.environ.get("DROVER_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"seed: DROVER_SEED={seed}")
    return random.Random(seed)


@pytest.fixture
def libvirtd():
    with Libvirtd() as running:
        yield running


@pytest.fixture
def proxy(libvirtd):
    """Between a daemon and libvirtd from here on; see libvirt_proxy.py."""
    with LibvirtProxy(libvirtd) as running:
        yield running


@pytest.fixture
def make_daemon():
    """make_daemon(libvirt=…, settings={…}) is a Daemon not yet started; closed at the end."""
    made = []

    def make(**kw):
        made.append(Daemon(check=CONTRACT.check, **kw))
        return made[-1]

    yield make
    for daemon in made:
        daemon.close()
