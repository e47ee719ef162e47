"""A disk that is really full: a small tmpfs as the state directory, filled to the last byte."""
import contextlib
import errno
import os
import re
import subprocess
import tempfile
from pathlib import Path

import pytest
from daemon import eventually
from invariants import database_is_sound, events_are_gapless, everything_agrees, quiet, vms

SETTINGS = {"free_space_floor_mib": 1}
REFUSED = {("insufficient-storage", 507), ("database-failed", 503)}


class SmallDisk:
    def __init__(self, mib=64):
        self.dir = Path(tempfile.mkdtemp(prefix="drover-fs-"))
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=0755", "drover-test", self.dir], check=True)
        self.ballast = self.dir / "ballast"

    def fill(self):
        """Until not one byte more can be written."""
        with open(self.ballast, "ab", buffering=0) as file:
            for size in (1 << 20, 4096, 1):
                with contextlib.suppress(OSError):
                    while True:
                        if file.write(b"\1" * size) < size:
                            break
        with open(self.dir / "probe", "wb", buffering=0) as file, pytest.raises(OSError) as failed:
            file.write(b"1")
        assert failed.value.errno == errno.ENOSPC
        (self.dir / "probe").unlink()

    def free(self):
        self.ballast.unlink()

    def close(self):
        subprocess.run(["umount", self.dir], check=True)
        self.dir.rmdir()


@pytest.fixture
def disk():
    if os.geteuid():
        pytest.skip("only root can mount a small file system")
    made = SmallDisk()
    yield made
    made.close()


@pytest.fixture
def full_daemon(disk, libvirtd, make_daemon, tmp_path):
    """On the small disk, with its log elsewhere; not yet full. Closed before the disk is."""
    daemon = make_daemon(libvirt=libvirtd.uri, state_dir=disk.dir, settings=SETTINGS)
    daemon.log_path = tmp_path / "droverd.log"
    # Its file with the address does not fit on a full disk, its log says it, too.
    daemon.listening = lambda: (re.findall(r"listening on (\S+)\n", daemon.log()) or [None])[-1]
    yield daemon
    daemon.close()


def parts(api):
    answer = api.get("/readyz")
    return answer.status, {p["name"]: p for p in answer.json["parts"]}


def create(api, name, **more):
    return api.post("/v1/vms", {"name": name, "memory_mib": 16, **more}, headers={"Idempotency-Key": f"key-{name}"})


def fill_by_writing(api, disk, prefix):
    """Creates until one is refused; the names of those that were acknowledged."""
    kept = []
    for i in range(500):
        disk.fill()
        answer = create(api, f"{prefix}-{i}")
        if answer.status != 201:
            assert (answer.code, answer.status) in REFUSED, answer
            return kept, f"{prefix}-{i}"
        kept.append(f"{prefix}-{i}")
    raise AssertionError("a full disk takes 500 VMs")


def is_refused(answer):
    assert (answer.code, answer.status) in REFUSED, answer
    return True


def test_full_and_free_again(disk, libvirtd, full_daemon):
    api = full_daemon.start().client()
    for i in range(5):
        assert create(api, f"before-{i}", start=i % 2 == 0).status == 201
    quiet(api)
    kept, refused = fill_by_writing(api, disk, "full")
    names = {f"before-{i}" for i in range(5)} | set(kept)

    # Writes are refused, with the reason; reads go on, and so does what is told to watchers.
    is_refused(create(api, "again"))
    is_refused(api.patch("/v1/vms/before-0", {"description": "x" * 1000}))
    is_refused(api.delete("/v1/vms/before-1", force=True))
    is_refused(api.post("/v1/vms/before-2/stop"))
    is_refused(api.post("/v1/tokens", {"name": "t", "role": "viewer"}))
    is_refused(api.post("/v1/images", {"name": "i", "kind": "disk", "format": "raw"}))
    status, found = parts(api)
    assert status == 503 and not found["database"]["ok"] and "space" in found["database"]["cause"], found
    assert not found["disk_space"]["ok"] and found["libvirt"]["ok"]
    assert {vm["name"] for vm in vms(api)} == names
    for path in ("/livez", "/metrics", "/v1/host", "/v1/events", "/v1/operations", "/v1/stats", "/"):
        assert api.get(path).status == 200, path

    # Somebody stops a VM meanwhile: it is seen when there is room to remember it.
    libvirtd.virsh("destroy", "before-0")

    disk.free()
    eventually(lambda: parts(api)[0] == 200, 30, "recovery without a restart")
    eventually(lambda: api.get("/v1/vms/before-0").json["state"] == "stopped", 30, "before-0's being stopped")
    quiet(api)
    answer = create(api, refused)
    assert answer.status == 201, answer
    quiet(api)
    listed = everything_agrees(full_daemon, libvirtd)
    assert {vm["name"] for vm in listed} == names | {refused}
    failed = [op for op in api.get("/v1/operations", limit=1000).json["items"] if op["state"] != "succeeded"]
    assert not failed, failed
    events_are_gapless(api)


def test_operations_that_cannot_be_stored(disk, libvirtd, full_daemon):
    """Accepted in time, finished too late to be written down: waits do not hang, nothing is lost."""
    api = full_daemon.start().client()
    accepted = []
    for i in range(30):
        answer = create(api, f"vm-{i}", start=True)
        assert answer.status == 201
        accepted.append(answer.json["operation"]["id"])
    disk.fill()
    left = fill_by_writing(api, disk, "more")[0]
    disk.free()
    eventually(lambda: parts(api)[0] == 200, 30, "recovery without a restart")
    quiet(api)
    for op in accepted:
        answer = api.get(f"/v1/operations/{op}", wait=10)
        assert answer.json["state"] == "succeeded", answer
    listed = everything_agrees(full_daemon, libvirtd)
    assert {vm["name"] for vm in listed} == {f"vm-{i}" for i in range(30)} | set(left)


@pytest.mark.parametrize("clean", [False, True], ids=["killed", "stopped"])
def test_start_on_a_full_disk(disk, libvirtd, full_daemon, clean):
    api = full_daemon.start().client()
    for i in range(3):
        assert create(api, f"vm-{i}", start=True).status == 201
    quiet(api)
    kept = fill_by_writing(api, disk, "full")[0]
    if clean:
        full_daemon.stop()
    else:
        full_daemon.kill9()
    disk.fill()
    libvirtd.virsh("destroy", "vm-0")
    full_daemon.ready = False
    full_daemon.log_path = full_daemon.log_path.with_name("second.log")
    api = full_daemon.start().client()
    eventually(lambda: parts(api)[1]["libvirt"]["ok"], 30, "the connection to libvirt")
    is_refused(create(api, "nothing"))
    status, found = parts(api)
    assert status == 503 and not found["database"]["ok"] and found["database"]["cause"], found
    assert {vm["name"] for vm in vms(api)} == {f"vm-{i}" for i in range(3)} | set(kept)
    assert api.get("/v1/events").status == 200
    disk.free()
    eventually(lambda: parts(api)[0] == 200, 30, "recovery without a restart")
    quiet(api)
    assert api.get("/v1/vms/vm-0").json["state"] == "stopped"
    assert create(api, "something").status == 201
    quiet(api)
    everything_agrees(full_daemon, libvirtd)
    events_are_gapless(api)


def test_killed_again_and_again_while_full(disk, libvirtd, full_daemon, rng):
    """The journal of a full disk is the one a crash leaves: what was acknowledged is there."""
    names = set()
    log = full_daemon.log_path
    for number in range(4):
        full_daemon.log_path = log.with_name(f"{number}.log")
        api = full_daemon.start().client()
        kept, _ = fill_by_writing(api, disk, f"n{number}")
        names |= set(kept)
        full_daemon.kill9()
        database_is_sound(disk.dir)
        disk.free()
    full_daemon.log_path = log
    api = full_daemon.start().client()
    quiet(api)
    assert {vm["name"] for vm in everything_agrees(full_daemon, libvirtd)} == names
