"""Fixtures: daemons with the embedded QEMU driver, shared by the tests of a file."""
import os
import shutil

import pytest

from rig import BUILD, QEMU, Rig, accelerations, build_demo


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


@pytest.fixture(scope="session")
def demo_image(tmp_path_factory):
    where = os.environ.setdefault("DROVER_DEMO_IMAGE", str(tmp_path_factory.mktemp("demo")))
    build_demo(where)
    return where


@pytest.fixture(scope="module")
def rig(capabilities):
    """Shared by the tests of a file: they name what they make and leave the rest alone."""
    with Rig(keep=capabilities) as r:
        yield r


@pytest.fixture(autouse=True)
def tidy(request):
    """The VMs that a test made go with it; those of a fixture of the file stay."""
    rig = request.getfixturevalue("rig") if "rig" in request.fixturenames else None
    known = set(rig.made) if rig else None
    yield
    if rig and rig.process:
        rig.tidy(known)


@pytest.fixture
def fresh_rig(capabilities):
    """One of a test's own, to stop, kill and configure: fresh_rig(settings={…})."""
    made = []

    def make(**kw):
        made.append(Rig(keep=capabilities, **kw))
        return made[-1].start()

    yield make
    for r in made:
        r.close()


@pytest.fixture(scope="session")
def need_kvm():
    if "kvm" not in accelerations():
        pytest.skip("/dev/kvm cannot be opened here")
