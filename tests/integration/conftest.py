"""Fixtures: a daemon on libvirt's test driver, clients whose every answer is checked."""
import itertools
import os
import sys
import tempfile
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "support"), str(TESTS / "contract")]
from daemon import BUILD, Daemon, eventually  # noqa: E402
from validate import Contract  # noqa: E402

CONTRACT = Contract()
NAMES = itertools.count(1)

# The record of this run, which test_zz_coverage.py reads at the end.
OWN_RECORD = None
if "DROVER_RECORD" not in os.environ:
    handle, OWN_RECORD = tempfile.mkstemp(prefix="drover-record-", suffix=".jsonl")
    os.close(handle)
    os.environ["DROVER_RECORD"] = OWN_RECORD


def pytest_unconfigure(config):
    if OWN_RECORD:
        Path(OWN_RECORD).unlink(missing_ok=True)


def pytest_collection_modifyitems(config, items):
    if not (BUILD / "droverd").exists():
        if "DROVER_BUILD" in os.environ:
            pytest.exit(f"{BUILD / 'droverd'} is not built", 2)
        for item in items:
            item.add_marker(pytest.mark.skip(reason=f"{BUILD / 'droverd'} is not built"))


@pytest.fixture(scope="session")
def contract():
    return CONTRACT


@pytest.fixture(scope="module")
def daemon():
    """Shared by the tests of a file: they name what they make and leave the rest alone."""
    with Daemon(check=CONTRACT.check) as d:
        yield d


@pytest.fixture
def fresh_daemon():
    """One of a test's own, to stop, kill and configure: fresh_daemon(settings={…})."""
    made = []

    def make(**kw):
        d = Daemon(check=CONTRACT.check, **kw)
        made.append(d)
        return d.start()

    yield make
    for d in made:
        d.close()


@pytest.fixture
def api(daemon):
    return daemon.client()


@pytest.fixture
def name():
    """Names nobody else uses: name() or name("web")."""
    return lambda prefix="vm": f"{prefix}-{next(NAMES)}"


@pytest.fixture
def make_vm(api, name):
    """make_vm(start=True, …) creates a VM, waits until it runs, and deletes it afterwards.

    One that is not started is returned when its definition is with libvirt: until then what the
    operation finds out (which acceleration, and why) is still to come. settle=False: the answer as
    it came.
    """
    made = []

    def make(wait=None, settle=True, **definition):
        definition.setdefault("name", name())
        if definition.get("start") and wait is None:
            wait = "running"
        response = api.post("/v1/vms", definition, wait=wait or None)
        assert response.status == 201, response
        vm = response.json
        made.append(vm["id"])
        if settle and wait is None and vm.get("operation"):
            operation = api.get(f"/v1/operations/{vm['operation']['id']}", wait=30).json
            assert operation["state"] == "succeeded", operation
            return dict(api.get(f"/v1/vms/{vm['id']}").json, operation=operation)
        return vm

    yield make
    for vm in made:
        api.delete(f"/v1/vms/{vm}", force=True, wait=30)


@pytest.fixture
def token(api):
    """token(role="viewer", scopes=[…]) is a secret."""
    made = []

    def make(role="admin", **kw):
        response = api.post("/v1/tokens", {"name": "test", "role": role, **kw})
        assert response.status == 201, response
        made.append(response.json["id"])
        return response.json["token"]

    yield make
    for token_id in made:
        api.delete(f"/v1/tokens/{token_id}")


@pytest.fixture
def wait_until():
    return eventually
