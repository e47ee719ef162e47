"""Every procedure of libvirt's that Drover calls x every way in which a call can go wrong, and what must be so.

    tests/fault/libvirt_faults.py                       # all of them; prints what is wrong and goes on
    tests/fault/libvirt_faults.py DOMAIN_RESUME         # of one procedure
    tests/fault/libvirt_faults.py DOMAIN_RESUME hang    # one
"""
import sys
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "support"), str(TESTS / "fault"), str(TESTS / "contract")]

# pylint: disable=wrong-import-position
from daemon import Daemon, eventually  # noqa: E402
from invariants import everything_agrees, pages, vms  # noqa: E402
from libvirt_proxy import LibvirtProxy  # noqa: E402
from libvirt_walk import Bystander, Walk  # noqa: E402
from libvirtd import Libvirtd  # noqa: E402

LONGEST_SECONDS = 5    # for any answer
IN_SYNC_SECONDS = 2    # after the fault is gone
FAULT_SECONDS = 1.5    # of what does not end by itself
READ_SECONDS = 0.05    # nine in ten; the machine does other things, too

# libvirt's own codes; each stands for one class of service/virt/virt_error.c.
ERRORS = {"internal": (1, 0), "unsupported": (3, 0), "no-connect": (5, 0), "invalid-arg": (8, 0), "failed": (9, 0),
          "exists": (28, 0), "no-space": (38, 28), "no-domain": (42, 0), "invalid-state": (55, 0), "timeout": (68, 0)}
CLASSES = {"delay": {"kind": "delay", "seconds": 0.4, "times": 5}, "hang": {"kind": "hang"},
           "hang-once": {"kind": "hang", "times": 1}, "cut-before": {"kind": "cut-before"},
           "cut-after": {"kind": "cut-after"}, "cut-middle": {"kind": "cut-middle"},
           "cut-once": {"kind": "cut-after", "times": 1},
           **{f"error-{name}": {"kind": "error", "code": code, "int1": int1} for name, (code, int1) in ERRORS.items()}}

# What the walk calls. Those of a connection's beginning are called when there is a new one.
AT_CONNECT = ["AUTH_LIST", "CONNECT_DOMAIN_EVENT_CALLBACK_REGISTER_ANY", "CONNECT_GET_ALL_DOMAIN_STATS",
              "CONNECT_GET_CAPABILITIES", "CONNECT_GET_HOSTNAME", "CONNECT_GET_LIB_VERSION", "CONNECT_GET_TYPE",
              "CONNECT_LIST_ALL_DOMAINS", "CONNECT_OPEN", "CONNECT_REGISTER_CLOSE_CALLBACK", "CONNECT_SUPPORTS_FEATURE"]
WALKED = ["DOMAIN_CREATE_WITH_FLAGS", "DOMAIN_DEFINE_XML_FLAGS", "DOMAIN_DESTROY_FLAGS", "DOMAIN_GET_AUTOSTART",
          "DOMAIN_GET_METADATA", "DOMAIN_GET_STATE", "DOMAIN_HAS_MANAGED_SAVE_IMAGE", "DOMAIN_IS_ACTIVE",
          "DOMAIN_LOOKUP_BY_NAME", "DOMAIN_LOOKUP_BY_UUID", "DOMAIN_MANAGED_SAVE", "DOMAIN_MANAGED_SAVE_REMOVE",
          "DOMAIN_OPEN_CHANNEL", "DOMAIN_OPEN_CONSOLE", "DOMAIN_OPEN_GRAPHICS_FD", "DOMAIN_REBOOT", "DOMAIN_RESET",
          "DOMAIN_RESUME", "DOMAIN_SCREENSHOT", "DOMAIN_SHUTDOWN_FLAGS", "DOMAIN_SUSPEND", "DOMAIN_UNDEFINE_FLAGS"]
# A libvirt that says that there is no such domain, and there is one: whoever asks for its end believes that.
LIES = [("DOMAIN_LOOKUP_BY_UUID", "error-no-domain"), ("DOMAIN_UNDEFINE_FLAGS", "error-no-domain")]
COMBINATIONS = [(p, c) for p in AT_CONNECT + WALKED for c in CLASSES if (p, c) not in LIES]


class Patience:
    """Is over some time after the first call that met the fault, on a machine that may be busy."""

    def __init__(self, proxy):
        self.proxy, self.met = proxy, None

    def __call__(self):
        if not self.met and self.proxy.hit():
            self.met = time.monotonic()
        return self.met and time.monotonic() > self.met + FAULT_SECONDS


class Place:
    """A libvirtd, the proxy before it, a daemon, and somebody else's VM that runs."""

    def __init__(self, check=None):
        self.libvirtd = Libvirtd().start()
        self.proxy = LibvirtProxy(self.libvirtd).__enter__()
        self.daemon = Daemon(libvirt=self.libvirtd.uri, check=check).start()
        self.api = self.daemon.client()
        answer = self.api.post("/v1/vms", {"name": "other", "memory_mib": 16, "start": True}, wait="running")
        assert answer.status == 201, answer
        self.other, self.number = answer.json["id"], 0
        self.slowest, self.live, self.in_sync = (0.0, ""), [], []

    def close(self):
        self.proxy.clear()
        self.daemon.close()
        self.proxy.__exit__()
        self.libvirtd.close()

    def unfinished(self):
        return [op for s in ("pending", "running") for op in pages(self.api, "/v1/operations", state=s)]

    def _settled(self):
        if self.api.get("/readyz").status != 200 or self.unfinished():
            return False
        running = set(self.libvirtd.virsh("list", "--uuid").split())
        return all((vm["id"] in running) == (vm["state"] in ("running", "paused")) for vm in vms(self.api))

    def meet(self, procedure, name):
        """One fault, from its beginning to the agreement after it."""
        self.number += 1
        begin = time.monotonic()
        bystander = Bystander(self.daemon, "other")
        bystander.start()
        self.proxy.fault(procedure, **CLASSES[name])
        if procedure in AT_CONNECT:
            self.proxy.cut()
        walk = Walk(self.daemon, f"walk-{self.number}", Patience(self.proxy))
        walk.run()
        if procedure in AT_CONNECT:  # a link that is down is tried again once a second at the latest
            eventually(self.proxy.hit, 10, "a call that meets the fault")
        assert self.proxy.hit() or name.startswith("hang"), "no call met the fault"
        bystander.stop()
        hits, lasted = self.proxy.hit(), time.monotonic() - begin
        self.proxy.clear()
        cleared = time.monotonic()
        try:
            eventually(self._settled, IN_SYNC_SECONDS, "agreement", every=0.01)
        except AssertionError:
            raise AssertionError(f"not in sync after {IN_SYNC_SECONDS} s: {self.api.get('/readyz')} "
                                 f"{self.unfinished()} {vms(self.api)} {self.libvirtd.virsh('list', '--all')}") from None
        self.in_sync.append(time.monotonic() - cleared)
        self.live += [seconds for seconds, _ in bystander.live]
        self.slowest = max(self.slowest, walk.slowest)
        self._tidy()
        assert walk.slowest[0] < LONGEST_SECONDS, f"an answer took {walk.slowest[0]:.1f} s: {walk.slowest[1]}"
        reads = sorted(seconds for seconds, _ in bystander.live + bystander.reads)
        usual = reads[len(reads) * 9 // 10] if len(reads) >= 30 else 0
        assert usual < READ_SECONDS and reads[-1] < 1, f"reads took {reads[-5:]}"
        assert hits < 50 + 200 * lasted, f"{hits} calls in {lasted:.1f} s: it tries again without a pause"

    def _tidy(self):
        """What could not be made or deleted has failed, says so, and can be deleted now."""
        for vm in vms(self.api):
            if vm["id"] == self.other:
                assert vm["state"] == "running", vm
            elif vm["state"] == "failed" or vm["name"].startswith("walk-"):
                answer = self.api.delete(f"/v1/vms/{vm['id']}", force=True)
                assert answer.status == 202, answer
        eventually(lambda: not self.unfinished(), 10, "the deletions", every=0.01)
        assert [vm["id"] for vm in everything_agrees(self.daemon, self.libvirtd)] == [self.other]


def run(combinations, check=None, stop=False, say=print):
    """[(procedure, class, what is wrong)], and the figures. stop: at the first."""
    place, wrong, figures, begin = None, [], [], time.monotonic()
    try:
        for procedure, name in combinations:
            place = place or Place(check)
            try:
                place.meet(procedure, name)
            except Exception as e:  # pylint: disable=broad-except
                wrong.append((procedure, name, f"{type(e).__name__}: {e}"))
                say(f"WRONG {procedure} {name}: {str(e)[:1500]}")
                if stop:
                    raise
                figures.append(place)
                try:
                    place.close()
                except AssertionError as e2:
                    say(f"  and at its end: {str(e2)[:300]}")
                place = None
    finally:
        if place:
            figures.append(place)
            place.close()
    live, synced = sorted(s for p in figures for s in p.live), sorted(s for p in figures for s in p.in_sync)
    if live and synced:
        say(f"{len(combinations)} combinations in {time.monotonic() - begin:.0f} s, {len(wrong)} wrong; slowest answer "
            f"{max(p.slowest for p in figures)}; /livez {1000 * live[len(live) // 2]:.1f} ms (half), "
            f"{1000 * live[len(live) * 99 // 100]:.1f} ms (99 %); in sync {synced[len(synced) // 2]:.2f} s (half), "
            f"{synced[-1]:.2f} s (all)")
    return wrong


if __name__ == "__main__":
    wanted = [(p, c) for p, c in COMBINATIONS if p in (sys.argv[1:2] or [p]) and c in (sys.argv[2:3] or [c])]
    sys.exit(1 if run(wanted) else 0)
