"""A system call that fails once, wherever the daemon makes it: what was asked for is done, or its failure is said, and
afterwards everything is in order.

The walk is a VM's and an image's life, asked by one client that sends again, with its key, what is answered with an
error of the server's or not at all. Where the call that fails is one of the start or the stop, the daemon may
refuse to start, with a word, and starts the next time.
"""
import hashlib
import http.client
import os
import random
import re
import signal
import subprocess
import time
from collections import Counter

import pytest
from certificates import Authority
from crash_checks import Checks, quiet, wait_until
from crash_lab import OFFLINE, Lab, Violation
from daemon import BUILD, Daemon
from failing_calls import ERRORS, SHIM, Ledger, calls

FAULTS, START_FAULTS = 120, 30
PATIENCE = 15
# Ours, libmicrohttpd's and glib's, before they give up.
LAST_WORDS = re.compile("^<2>out of memory|^Fatal error in GNU libmicrohttpd|GLib|^Creating pipes|^Failed to create")
# They use what they did not get: GLib, with which libvirt reads its environment, this one's context; and this one, when
# it writes a disk of ISO 9660.
THEIRS = ("libpcre2", "libarchive")
THEIR_WORDS = "xmlGetGlobalState: out of memory" # says libxml2, and uses it
pytestmark = [pytest.mark.skipif(not SHIM.exists(), reason=f"{SHIM} is not built"),
              pytest.mark.skipif("san" in os.environ.get("DROVER_BUILD", ""), reason="a sanitizer calls by itself")]


class FaultyLab(Lab):
    build = BUILD

    def __init__(self, **environment):
        super().__init__()
        self.ledger = Ledger(self.dir / "ledger")
        self.environment.update(LD_PRELOAD=str(SHIM), FAILING_CALLS=str(self.ledger.path), **environment)
        self.fault, self.ends, self.hopeless = None, Counter(), False

    def is_listening(self):
        """The file with its address need not be there."""
        return True

    def is_hopeless(self, told):
        """A disk that cannot read (EIO) is what SQLite calls a damaged database: it is said, and stays until the next
        start."""
        if not (self.fault and self.fault[1:4:2] == ("pread", "EIO") and "it is damaged" in str(told)):
            return False
        self.process.terminate()
        self.hopeless = True
        return True

    def start(self):
        """GLib that has no memory for its own locks wants to say so under one of them, and waits for itself: until who
        started the daemon has enough of it, as systemd has."""
        try:
            return super().start()
        except Violation:
            if not self.fault or not self.fault[0].startswith("libglib") or self.process.poll() is not None:
                raise
        self.process.kill()
        self.process.wait()
        self.link.close()
        self.ends[f"{self.fault}: waits for itself in GLib"] += 1
        return False

    def refused(self):
        """It has ended by itself: with a word, and not by a signal of the kernel's."""
        status = self.process.wait()
        self.link.close()
        word = self.log_path.read_text(errors="replace").rstrip().splitlines()[-1:]
        if self.hopeless and status == 0:
            self.hopeless = False
            self.ends[f"{self.fault}: says that its database is damaged"] += 1
            return False
        given_up = status in (-signal.SIGABRT, -signal.SIGTRAP) and word and LAST_WORDS.search(word[0])
        theirs = self.fault and self.fault[0].startswith(THEIRS) or THEIR_WORDS in str(word)
        if not theirs and (not word or not (status > 0 or given_up)):
            raise Violation(f"it ended with {status}: {self.log()}")
        self.ends[f"{self.fault}: {status}, {word[0][:110] if word else ''}"] += 1
        return False

    _died = refused

    def revive(self):
        """After a connection that broke: the daemon ends, or serves."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if self.process.poll() is not None:
                self.refused()
                if not self.start():
                    raise Violation(f"it does not start again: {self.log()}")
                return
            try:
                if self.link.ask("GET", "/livez")[0] == 200:
                    return
            except OFFLINE:
                pass
            time.sleep(0.005)
        raise Violation(f"it neither ends nor answers: {self.log()}")

    def stop(self):
        self.process.terminate()
        try:
            status = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise Violation(f"it does not stop; {self.log()}") from None
        if status:
            self.refused()
        self.link.close()


class Walk:
    """One life of an image and a VM; `failures` are the operations that ended as failed."""

    def __init__(self, lab, rng, number):
        self.lab, self.rng, self.number, self.keys, self.failures, self.told = lab, rng, number, 0, [], []
        self.failed = lab.ledger.failed

    def ask(self, method, path, body=None, ok=(200, 201, 202, 204), headers=None):
        self.keys += 1
        headers = headers or ({"Idempotency-Key": f"k{self.number}-{self.keys}"} if method in ("POST", "DELETE") else {})
        end = time.monotonic() + PATIENCE
        while True:
            try:
                status, value = self.lab.link.ask(method, path, body, headers)
            except OFFLINE:
                self.lab.revive()
                status, value = 599, None
            # These have no key: what was sent twice, here or by the connection itself, finds that it has come.
            twice = self.lab.ledger.failed > self.failed and method in ("DELETE", "PUT")
            if status in ok or (twice and status in (404, 409)):
                return value
            self.told.append((method, path, status, value and value.get("code")))
            if status < 500:
                raise Violation(f"{method} {path} answers {status}: {value}; before: {self.told}")
            if time.monotonic() > end:
                raise Violation(f"{method} {path} still answers {status}: {value}; {self.lab.log()}")
            time.sleep(0.005)

    def ended(self, operation):
        """Whether it succeeded."""
        end = time.monotonic() + 2 * PATIENCE
        while operation:
            op = self.ask("GET", f"/v1/operations/{operation['id']}?wait=5")
            if op["state"] not in ("pending", "running"):
                if op["state"] != "succeeded":
                    self.failures.append((op["kind"], op["error"]["code"], op["error"].get("detail")))
                return op["state"] == "succeeded"
            if time.monotonic() > end:
                raise Violation(f"it does not end: {op}; {self.lab.log()}")
        return True

    def image(self):
        data = self.rng.randbytes(65536)
        image = self.ask("POST", "/v1/images", {"name": f"image-{self.number}", "kind": "disk", "format": "raw"})
        path = f"/v1/images/{image['id']}"
        self.ask("PUT", f"{path}/content", data)
        told = self.ask("GET", path)
        found = {f["sha256"] for f in told["files"].values()}
        if told["state"] != "ready" or found != {hashlib.sha256(data).hexdigest()}:
            raise Violation(f"not the image that was sent: {told}")
        return image

    def vm(self, image):
        for attempt in range(3):
            vm = self.ask("POST", "/v1/vms", {"name": f"vm-{self.number}-{attempt}", "memory_mib": 16, "vsock": True,
                                              "image": image["name"], "user_data": "#cloud-config\n", "start": True,
                                              "networks": [{"mode": "user"}], "disks": [{"size_gib": 1}]})
            if self.ended(vm.get("operation")):
                return vm
            self.expect(vm, "failed")
            self.delete(vm)
        raise Violation(f"no VM can be made: {self.failures}")

    def expect(self, vm, state):
        now = self.ask("GET", f"/v1/vms/{vm['id']}")
        if now["state"] != state:
            raise Violation(f"{now['name']} is {now['state']} ({now['state_reason']}) instead of {state}; {self.failures}")

    def verb(self, vm, verb, state):
        """Twice at most: after a failure the VM is as it was, or as was asked for, or failed and can be started."""
        for _ in range(2):
            operation = self.ask("POST", f"/v1/vms/{vm['id']}/{verb}")
            if self.ended(operation):
                break
            if self.ask("GET", f"/v1/vms/{vm['id']}")["state"] == state:
                break
        self.expect(vm, state)

    def delete(self, vm):
        for _ in range(3):
            operation = self.ask("DELETE", f"/v1/vms/{vm['id']}?force=true", ok=(202, 404))
            if not operation or operation.get("status") == 404 or self.ended(operation):
                break
        if self.ask("GET", f"/v1/vms/{vm['id']}", ok=(404, 200)).get("status") != 404:
            raise Violation(f"it cannot be deleted: {self.failures}")

    def lease(self):
        lease = self.ask("POST", "/v1/leases", {"vm": {"name": f"lease-{self.number}", "memory_mib": 16, "networks": []},
                                                "ttl_seconds": 600})
        self.ask("PATCH", f"/v1/leases/{lease['id']}", {"ttl_seconds": 700})
        self.ask("DELETE", f"/v1/leases/{lease['id']}")

    def run(self):
        image = self.image()
        vm = self.vm(image)
        self.ask("PATCH", f"/v1/vms/{vm['id']}", {"description": "changed"})
        if self.ask("GET", f"/v1/vms/{vm['id']}")["description"] != "changed":
            raise Violation("a change is lost")
        for verb, state in (("pause", "paused"), ("resume", "running"), ("save", "saved"), ("start", "running"),
                            ("stop", "stopped")):
            self.verb(vm, verb, state)
        self.lease()
        self.ask("GET", "/v1/host")
        self.delete(vm)
        self.ask("DELETE", f"/v1/images/{image['id']}")


class Trials:
    def __init__(self, lab, rng):
        self.lab, self.rng, self.checks, self.number = lab, rng, None, 0
        self.failures, self.answers, self.came, self.late = Counter(), Counter(), Counter(), []

    def settle(self):
        quiet(self.lab)

    def walk(self):
        self.number += 1
        walk = Walk(self.lab, self.rng, self.number)
        walk.run()
        return walk

    def in_order(self, fault):
        """Also where the daemon ends only now, after the walk."""
        try:
            self.look(fault)
        except OFFLINE:
            self.lab.revive()
            self.look(fault)

    def look(self, fault):
        """At once; or, what could not be removed, after the next start, which looks for it."""
        quiet(self.lab)
        self.checks.patience = 3
        try:
            self.checks.all()
        except Violation as why:
            if fault[1] not in ("unlink", "unlinkat", "rmdir", "opendir", "openat"):
                raise
            self.lab.stop()
            self.lab.start()
            quiet(self.lab)
            self.checks.all()
            self.late.append(f"{fault}: {why}"[:200])

    def passed_at_start(self):
        """{key of a site: times} of a stop and a start."""
        ledger = self.lab.ledger
        ledger.forget_counts()
        self.lab.stop()
        assert self.lab.start()
        return ledger.counts()

    def one(self, site, passes, error, at_start=False):
        lab, ledger = self.lab, self.lab.ledger
        fault, before, walk = (site.module, site.call, hex(site.offset), error, passes), ledger.failed, None
        size, lab.fault = lab.log_path.stat().st_size, fault
        try:
            if at_start:
                ledger.arm(site.key, passes, error)
                lab.stop()
                if not lab.start() and not lab.start():
                    raise Violation("it does not start the second time")
                ledger.disarm()
            else:
                ledger.arm(site.key, passes, error)
                walk = self.walk()
                ledger.disarm()
            if not lab.alive():
                lab.revive()
            came = ledger.failed > before
            self.came[site.call] += came
            if walk:
                if walk.failures and not came:
                    raise Violation(f"operations failed: {walk.failures}")
                self.failures.update(f"{site.call} {kind} {code}" for kind, code, _ in walk.failures)
                self.answers.update(f"{status} {code}" for _, _, status, code in walk.told)
            self.in_order(fault)
        except (Violation, AssertionError) as why:
            with open(lab.log_path, "rb") as log:
                log.seek(size)
                raise AssertionError(f"after {fault} ({walk and walk.told}): {why}\n"
                                     f"{log.read().decode(errors='replace')[-3000:]}") from None
        return came


def begun(lab, rng):
    """Trials of a daemon that has walked once; the lab ends with them."""
    try:
        assert lab.start()
        made = Trials(lab, rng)
        status, model = lab.link.ask("POST", "/v1/vms", {"name": "model", "memory_mib": 16})
        assert status == 201
        quiet(lab)
        wait_until(lambda: model["id"] in lab.domains(), "the model's domain")
        lab.plant_canaries(model["id"])
        made.checks = Checks(lab)
        made.walk()  # what is done once only
        quiet(lab)
        yield made
    finally:
        lab.close()


@pytest.fixture
def trials(libvirtd, rng):
    del libvirtd  # only whether there is one
    yield from begun(FaultyLab(), rng)


def seed():
    return int(os.environ.get("DROVER_SEED") or (random.SystemRandom().randrange(1 << 31) if os.environ.get("DROVER_TEST_LONG")
                                                 else 1121))


def plan(rng, passed, ledger, most):
    """(site, passes, error): every error of every site, at its first call and at one in its middle; or a sample."""
    faults = []
    for key in sorted(passed):
        site = ledger.site(key)
        for error in ERRORS[site.call].split():
            faults += [(site, 0, error), (site, rng.randrange(passed[key]), error)]
    rng.shuffle(faults)
    return faults[:most] if most else faults


def tell(trials, faults, came):
    print(f"{came} of {len(faults)} calls failed at {len({f[0].key for f in faults})} places; by call: {dict(trials.came)}\n"
          f"answers with an error of the server's: {dict(trials.answers)}\noperations that failed: {dict(trials.failures)}\n"
          f"ends: {dict(trials.lab.ends)}\nin order after the next start: {trials.late}")


def test_a_call_fails_under_way(trials, long):
    trials.rng = random.Random(seed())
    ledger = trials.lab.ledger
    ledger.forget_counts()
    trials.walk()
    quiet(trials.lab)
    faults = plan(trials.rng, ledger.counts(), ledger, 0 if long > 1 else FAULTS)
    came = sum(trials.one(*fault) for fault in faults)
    tell(trials, faults, came)
    assert came > len(faults) // 2, "most of the failures that were asked for came"


def test_a_call_fails_at_the_start_or_the_stop(trials, long):
    trials.rng = random.Random(seed())
    passed = trials.passed_at_start()
    faults = plan(trials.rng, passed, trials.lab.ledger, 0 if long > 1 else START_FAULTS)
    came = sum(trials.one(*fault, at_start=True) for fault in faults)
    tell(trials, faults, came)
    assert came > len(faults) // 2, "most of the failures that were asked for came"


def test_a_file_of_the_database_may_not_be_written(trials):
    """SQLite then opens it for reading: also the journal, with which a daemon was once never ready."""
    trials.rng = random.Random(seed())
    ledger = trials.lab.ledger
    sites = [s for s in map(ledger.site, ledger.counts()) if (s.call, s.module[:10]) == ("open", "libsqlite3")]
    came = sum(trials.one(site, passes, "EACCES", at_start=True) for site in sites for passes in range(6))
    tell(trials, [(site,) for site in sites for _ in range(6)], came)
    assert came >= 3


def test_threads_are_refused_at_the_start(trials):
    """The last ones are those of the operations: without them a daemon was once never ready."""
    trials.rng = random.Random(seed())
    ledger = trials.lab.ledger
    counts = {site: n for site, n in ((ledger.site(key), n) for key, n in trials.passed_at_start().items())
              if (site.call, site.module) == ("pthread_create", "droverd")}
    faults = [(site, passes) for site, n in counts.items() for passes in range(max(0, n - 12), n, 2)]
    came = sum(trials.one(*fault, "EAGAIN", at_start=True) for fault in faults)
    tell(trials, faults, came)
    assert came > len(faults) // 2


# ---- calls that the program defines itself (api/tls_socket.c) ----

def get(daemon, context, patience=30):
    """One request on a connection of its own; again after one that broke."""
    host, port = daemon.address.rsplit(":", 1)
    end = time.monotonic() + patience
    while True:
        make = http.client.HTTPSConnection if context else http.client.HTTPConnection
        link = make(host, int(port), timeout=10, **({"context": context} if context else {}))
        try:
            link.request("GET", "/v1/vms", headers={"Authorization": f"Bearer {daemon.admin_token()}", "Connection": "close"})
            answer = link.getresponse()
            assert answer.status == 200, answer.read()
            return answer.read()
        except OFFLINE:
            assert time.monotonic() < end, daemon.log()[-3000:]
        finally:
            link.close()


# Who makes them: without TLS the library, whose calls are passed on as its own; with it the wall below it.
MADE_BY = {False: {"recv": "libmicrohttpd", "sendmsg": "libmicrohttpd", "shutdown": "libmicrohttpd"},
           True: {"recv": "droverd", "send": "droverd", "shutdown": "libmicrohttpd"}}


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_call_fails_that_the_program_defines_itself(tmp_path, tls):
    """Its definition comes before the one that lets calls fail, and has to lead there."""
    tmp_path.chmod(0o755)
    ledger, settings, context = Ledger(tmp_path / "ledger"), {}, None
    if tls:
        authority = Authority(tmp_path)
        certificate, key = authority.issue("localhost")
        settings, context = {"tls_certificate": certificate, "tls_key": key}, authority.context()
    with Daemon(libvirt="test:///default", settings=settings, context=context,
                env={"LD_PRELOAD": str(SHIM), "FAILING_CALLS": str(ledger.path)}) as daemon:
        get(daemon, context)
        ledger.forget_counts()
        get(daemon, context)
        for call, module in MADE_BY[tls].items():
            # The answer's reader may be gone before the connection is shut down: it is looked for until it came.
            found = wait_until(lambda: [s for s in map(ledger.site, ledger.counts()) if s.call == call  # noqa: B023
                                        and s.module.startswith(module)], f"{call}() of {module}")  # noqa: B023
            for site in found:
                for error in set(ERRORS[call].split()) & {"ECONNRESET", "EPIPE", "ENOMEM", "ENOTCONN"}:
                    failed = ledger.failed
                    ledger.arm(site.key, 0, error)
                    get(daemon, context)
                    wait_until(lambda: ledger.failed == failed + 1, f"{error} of {site}")
        get(daemon, context)


def test_every_call_has_its_errors():
    assert calls() == set(ERRORS)
