"""An allocation that fails, whichever it is: the daemon says so or ends, and never goes on with a pointer that is none."""
import mmap
import os
import signal
import struct

import pytest
from daemon import BUILD, eventually
from invariants import everything_agrees, quiet
from load import OFFLINE, Clients, History
from test_crash import check_events, check_history, foreign_domains, settle

SHIM = BUILD / "tests" / "scarce_memory.so"
FAILURES, ACTIONS = 12, 30
A_REQUEST = 1000  # roughly so many allocations are one request's, with all that it brings about
pytestmark = [pytest.mark.skipif(not SHIM.exists(), reason=f"{SHIM} is not built"),
              pytest.mark.skipif("san" in os.environ.get("DROVER_BUILD", ""), reason="a sanitizer allocates by itself")]


class Ledger:
    """See tests/support/scarce_memory.c."""

    def __init__(self, path):
        path.write_bytes(bytes(24))
        with open(path, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), 24)

    def _number(self, index):
        return struct.unpack_from("<Q", self.memory, 8 * index)[0]

    def refuse(self, from_now):
        struct.pack_into("<Q", self.memory, 8, self._number(0) + from_now)

    def refuse_nothing(self):
        struct.pack_into("<Q", self.memory, 8, 0)

    @property
    def count(self):
        return self._number(0)

    @property
    def refused(self):
        return self._number(2)


def has_ended_or_answers(daemon):
    if daemon.process.poll() is not None:
        return True
    try:
        return daemon.client().get("/livez").status == 200
    except OFFLINE:
        return False  # it is about to end


class PatientClients(Clients):
    """What is answered with an error of the server's own is asked again later, with its key, like what is not answered."""

    def _send(self, call, api):
        answer = call.send(api)
        if answer.status >= 500:
            call.status, answer.status = None, 202
        return answer


def test_an_allocation_fails(libvirtd, make_daemon, rng, long, tmp_path):
    ledger, history, ends, answered = Ledger(tmp_path / "ledger"), History(), {}, 0
    daemon = make_daemon(libvirt=libvirtd.uri, env={"LD_PRELOAD": str(SHIM), "SCARCE_MEMORY": str(tmp_path / "ledger")})
    daemon.start()
    canaries = foreign_domains(daemon, libvirtd)
    for number in range(FAILURES * long):
        before = ledger.refused
        ledger.refuse(from_now=rng.randrange(1, ACTIONS * A_REQUEST))
        clients = PatientClients(daemon, history, rng, ACTIONS, prefix=f"m{number}").start()
        for thread in clients.threads:
            thread.join(60)
            assert not thread.is_alive(), "a request hangs"
        assert not clients.failures, clients.failures
        ledger.refuse_nothing()
        answered += clients.done
        if ledger.refused > before and daemon.process.poll() is None:
            eventually(lambda: has_ended_or_answers(daemon), 20, "an answer, or its end")
        end = daemon.process.poll()
        if end is not None:
            # The second is glib's way of ending.
            assert end in (-signal.SIGABRT, -signal.SIGTRAP) or end > 0, f"{end}: {daemon.log()[-3000:]}"
            daemon.kill9()
            daemon.start()
        ends[end] = ends.get(end, 0) + (ledger.refused > before)
        quiet(daemon.client())
        everything_agrees(daemon, libvirtd, canaries)
        settle(daemon, history)
        check_history(daemon, history, everything_agrees(daemon, libvirtd, canaries))
    check_events(daemon, history)
    assert ledger.refused >= FAILURES * long // 3, "most of the failures that were asked for came"
    print(f"{ledger.refused} of {ledger.count} allocations failed, {answered} requests answered; how it ended: {ends}")
