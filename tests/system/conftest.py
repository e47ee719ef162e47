"""Fixtures: the reference host, booted once, and droverd in it."""
import os
import subprocess
from xml.etree import ElementTree

import pytest

from host import Host, RunningHost
from installed import BUILD, Installed, install


def pytest_collection_modifyitems(config, items):
    """With DROVER_SYSTEM_AGAIN=FILE, what failed in that run; its results stay in FILE without them."""
    path = os.environ.get("DROVER_SYSTEM_AGAIN")
    if not path:
        return
    tree, failed = ElementTree.parse(path), set()
    for suite in tree.getroot().iter("testsuite"):
        for case in list(suite.iter("testcase")):
            if case.find("failure") is not None or case.find("error") is not None:
                failed.add((case.get("classname").rsplit(".", 1)[-1], case.get("name")))
                suite.remove(case)
    tree.write(path)
    again = [item for item in items if (item.module.__name__.rsplit(".", 1)[-1], item.name) in failed]
    config.hook.pytest_deselected(items=[item for item in items if item not in again])
    items[:] = again


@pytest.fixture(scope="session")
def host():
    """DROVER_SYSTEM_HOST=FOLDER takes one that host.py has booted; else one is booted, and ended."""
    folder = os.environ.get("DROVER_SYSTEM_HOST")
    machine = RunningHost(folder) if folder else Host(os.environ["DROVER_SYSTEM_IMAGE"])
    try:
        yield machine.boot()
        assert not machine.crashed(), machine.crashed()
    finally:
        machine.stop()


@pytest.fixture(scope="session")
def service(host):
    """droverd as a systemd service beside libvirtd, as packages have it; with the image "demo". With
    DROVER_SYSTEM_INSTALLED the one that is there already: for trying a test again."""
    assert (BUILD / "droverd").exists(), f"{BUILD / 'droverd'} is not built"
    if not os.environ.get("DROVER_SYSTEM_INSTALLED"):
        # What an earlier run left, where the host is one that stays.
        host.run("systemctl stop droverd.socket droverd 2>/dev/null; rm -rf /var/lib/drover/*; "
                 "for vm in $(virsh list --all --uuid); do virsh destroy $vm; virsh undefine --managed-save $vm; done "
                 ">/dev/null 2>&1; true")
        install(host)
    daemon = Installed(host)
    daemon.wait_ready()
    daemon.ensure_image("demo")
    return daemon


@pytest.fixture(autouse=True)
def tidy(request):
    """The VMs that a test made go with it; those of a fixture of the file stay."""
    daemons = [request.getfixturevalue(name) for name in ("service", "embedded") if name in request.fixturenames]
    known = [set(daemon.made) for daemon in daemons]
    yield
    for daemon, before in zip(daemons, known):
        daemon.tidy(before)


@pytest.fixture(scope="module", autouse=True)
def leave_nothing(service):
    """What the tests of a file shared goes with the last of them: memory in there is short."""
    yield
    service.tidy(set())


def pytest_runtest_makereport(item, call):
    """What the daemon said comes with a failure."""
    if call.excinfo is None or call.when == "teardown":
        return
    for name in ("service", "embedded"):
        if name in item.funcargs:
            try:
                said = item.funcargs[name].log()
            except subprocess.TimeoutExpired as hung:
                said = f"the host does not answer: {hung}"  # which is a failure of this test, and not of the whole run
            item.add_report_section(call.when, f"journal of {name}", said)
