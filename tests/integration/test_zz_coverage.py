"""Last of all: every operation of the contract was exercised, and succeeded where it can here."""
import os
from pathlib import Path

import pytest
from validate import Coverage, read_record

# libvirt's test driver has no consoles and no guest agents; tests/qemu has both.
NEVER_HERE = {"openConsole", "openChannel", "openSerial", "openDisplay", "getConsoleLog", "clearConsoleLog",
              "putImageKernel", "putImageInitrd", "cancelOperation", "patchKsm", "startRecording", "getRecording",
              "deleteRecording", "stopRecording", "getRecordingContent", "execInVm", "getVmExec",
              "killVmExec", "openVmExec", "getVmFile", "putVmFile",
              "freezeVm", "thawVm", "setVmTime", "setGuestPassword", "addGuestSshKeys", "measureDirtyRate"}


@pytest.fixture(scope="module")
def coverage(contract, request):
    files = {Path(item.fspath).name for item in request.session.items}
    whole = len(files) == len(list(Path(__file__).parent.glob("test_*.py"))) and "PYTEST_XDIST_WORKER" not in os.environ
    if not whole and "DROVER_RECORD_IS_WHOLE" not in os.environ:
        pytest.skip("only with, or after, the whole suite")
    found = Coverage(contract)
    for exchange in read_record(os.environ["DROVER_RECORD"]):
        found.add(exchange)
    return found


def test_every_operation_was_exercised(coverage):
    assert coverage.missing() == []


def test_every_operation_succeeded(coverage):
    assert set(coverage.never_succeeded()) <= NEVER_HERE
