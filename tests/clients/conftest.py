"""Fixtures: a daemon with the embedded driver, guests that echo, and proxies in front."""
import shutil
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "qemu")]

from rig import BUILD, QEMU, Rig  # noqa: E402


def pytest_collection_modifyitems(config, items):
    missing = None
    if not (BUILD / "droverd").exists():
        missing = f"{BUILD / 'droverd'} is not built"
    elif not shutil.which(QEMU):
        missing = f"{QEMU} is missing"
    for item in items:
        if missing:
            item.add_marker(pytest.mark.skip(reason=missing))


@pytest.fixture(scope="session")
def capabilities(tmp_path_factory):
    """libvirt asks QEMU for seconds what it can do; the first daemon's answer serves the others."""
    return tmp_path_factory.mktemp("libvirt") / "capabilities"


@pytest.fixture(scope="module")
def rig(capabilities):
    with Rig(keep=capabilities) as r:
        yield r


@pytest.fixture
def make_rig(capabilities):
    """A daemon with settings of its own: make_rig(settings={…}), not started."""
    made = []

    def make(**kw):
        made.append(Rig(keep=capabilities, **kw))
        return made[-1]

    yield make
    for r in made:
        r.close()


@pytest.fixture(scope="module")
def hello(rig):
    """A guest that greets and echoes."""
    return rig.create(wait="console")["id"]
