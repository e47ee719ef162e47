"""Clocks that jump, a host that sleeps or boots: nothing ends early, nothing lives on for ever."""
import os
import struct
import uuid

import pytest

from daemon import BUILD, eventually

SHIM = BUILD / "tests" / "jumping_clock.so"
TEMPLATE = {"memory_mib": 16, "networks": []}
HOUR = 3600
WITHIN = 60

pytestmark = pytest.mark.skipif(not SHIM.exists(), reason=f"{SHIM} is not built")


class Clock:
    """The wall clock and the boot clock of a daemon, which may jump while it runs."""

    def __init__(self, folder):
        self.file, self.wall, self.boot = folder / "clock", 0, 0
        self.file.write_bytes(bytes(16))
        # The address sanitizer wants to be the first library; this one asks it for nothing.
        self.env = {"LD_PRELOAD": str(SHIM), "JUMPING_CLOCK": str(self.file),
                    "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}

    def jump(self, wall=0, boot=0):
        self.wall, self.boot = self.wall + wall, self.boot + boot
        with open(self.file, "r+b") as file:
            file.write(struct.pack("=qq", self.wall, self.boot))


@pytest.fixture
def clock(tmp_path):
    return Clock(tmp_path)


def lease(api, seconds, **more):
    answer = api.post("/v1/leases", {"pool": "clock", "ttl_seconds": seconds, "max_seconds": max(seconds, 2 * HOUR), **more})
    assert answer.status == 201, answer
    return answer.json["id"]


def calm(api, seconds):
    """A lease whose VM is off and may idle for so long: as long as the host is awake."""
    calm = lease(api, 2 * HOUR, idle_seconds=seconds)
    vm = eventually(lambda: api.get(f"/v1/vms/{state(api, calm)['vm']['id']}").json["state"] == "running"
                    and state(api, calm)["vm"]["id"], WITHIN, "its VM")
    assert api.post(f"/v1/vms/{vm}/stop", wait=30).json["state"] == "succeeded"
    return calm


def made(daemon, name):
    """A pool, and a set that ends in ten minutes."""
    api = daemon.client()
    assert api.put("/v1/pools/clock", {"vm": TEMPLATE, "depth": "cold", "ready": 0, "max": 50}).status == 201
    answer = api.post("/v1/sets", {"name": name, "count": 1, "ttl_seconds": 600,
                                     "machines": [{"name": "m", **TEMPLATE}]})
    assert answer.status == 201, answer
    return api


def state(api, lease_id):
    return api.get(f"/v1/leases/{lease_id}").json


def time_passes(api):
    """A lease of one second begins and ends, so whoever ends leases has looked since."""
    short = lease(api, 1)
    ended = eventually(lambda: (s := state(api, short))["state"] == "ended" and s, WITHIN, "the end of a short lease")
    assert ended["end_reason"] == "expired", ended


@pytest.mark.parametrize("seconds", [HOUR, -HOUR], ids=["on", "back"])
def test_the_wall_clock_jumps(libvirtd, make_daemon, clock, seconds):
    daemon = make_daemon(libvirt=libvirtd.uri, env=clock.env).start()
    api = made(daemon, "jumps")
    keep = lease(api, 600)
    clock.jump(wall=seconds)
    time_passes(api)
    assert state(api, keep)["state"] == "active" and api.get("/v1/sets/jumps").status == 200
    daemon.kill9()
    clock.jump(wall=-2 * seconds)
    api = daemon.start().client()
    time_passes(api)
    assert state(api, keep)["state"] == "active" and api.get("/v1/sets/jumps").status == 200
    renewed = api.patch(f"/v1/leases/{keep}", {"ttl_seconds": 1})
    assert renewed.status == 200, renewed
    eventually(lambda: state(api, keep)["end_reason"] == "expired", WITHIN, "its end, by the clock that counts")


@pytest.mark.parametrize("away", [False, True], ids=["awake", "while-the-daemon-is-away"])
def test_the_host_was_suspended(libvirtd, make_daemon, clock, away):
    """Both clocks go on meanwhile: what is due is ended at once, and no more than that."""
    daemon = make_daemon(libvirt=libvirtd.uri, env=clock.env).start()
    api = made(daemon, "sleeps")
    due, later, unused = lease(api, 600), lease(api, 2 * HOUR), calm(api, 1800)
    if away:
        daemon.kill9()
    clock.jump(wall=HOUR, boot=HOUR)
    if away:
        api = daemon.start().client()
    eventually(lambda: state(api, due)["end_reason"] == "expired", WITHIN, "the end of what was due meanwhile")
    eventually(lambda: api.get("/v1/sets/sleeps").status == 404, WITHIN, "the end of the set that was due")
    time_passes(api)
    assert state(api, later)["state"] == "active" and state(api, unused)["state"] == "active"
    clock.jump(wall=HOUR + 1, boot=HOUR + 1)
    eventually(lambda: state(api, later)["end_reason"] == "expired", WITHIN, "the end of the other one")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a mount namespace")
@pytest.mark.parametrize("wall,ended", [(HOUR, True), (60, False), (-HOUR, False)],
                         ids=["an-hour-later", "at-once", "with-a-clock-that-is-wrong"])
def test_the_host_was_booted(libvirtd, make_daemon, clock, tmp_path, wall, ended):
    """The boot clock begins anew, so the wall clock tells what is left, and never more than was given."""
    boot_id = tmp_path / "boot_id"
    boot_id.write_text(f"{uuid.uuid4()}\n")
    mount = f"mount --bind {boot_id} /proc/sys/kernel/random/boot_id && exec \"$@\""
    daemon = make_daemon(libvirt=libvirtd.uri, env=clock.env, wrapper=["unshare", "-m", "sh", "-c", mount, "sh"]).start()
    api = made(daemon, "boots")
    keep = lease(api, 600)
    daemon.kill9()
    boot_id.write_text(f"{uuid.uuid4()}\n")
    clock.jump(wall=wall, boot=-100)
    api = daemon.start().client()
    if ended:
        eventually(lambda: state(api, keep)["end_reason"] == "expired", WITHIN, "the end of what was due")
        eventually(lambda: api.get("/v1/sets/boots").status == 404, WITHIN, "the end of the set that was due")
        return
    time_passes(api)
    assert state(api, keep)["state"] == "active"
    # By the boot clock it has at most the ten minutes that it was given, whatever the wall clock says.
    clock.jump(boot=601)
    eventually(lambda: state(api, keep)["end_reason"] == "expired", WITHIN, "its end")
