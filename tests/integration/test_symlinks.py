"""Somebody who can change directory entries swaps files for symbolic links while the daemon works with them.

Nobody can, as test_secrets.py shows; were it so, what the links lead to would still neither be read nor written.
"""
import ctypes
import hashlib
import os
import subprocess
import sys

import pytest
from daemon import Daemon

IN_ACCESS, IN_MODIFY, IN_ATTRIB, IN_OPEN, IN_DELETE_SELF = 1, 2, 4, 0x20, 0x400
ROUNDS = 200 if os.environ.get("DROVER_TEST_LONG") else 25
# A program of its own: it must be as fast as it can. It leaves alone what it is not about: the database, the sockets.
RACER = r"""
import os, stat, sys
root, canary, turns = sys.argv[1], sys.argv[2], 0
print("ready", flush=True)
while os.getppid() != 1:
    turns += 1
    for folder in ("images", "images/tmp", "vms", "recordings", "consoles"):
        for below, _, names in os.walk(os.path.join(root, folder)):
            for number, name in enumerate(names):
                path = os.path.join(below, name)
                try:
                    if (turns + number) % 2 and stat.S_ISREG(os.lstat(path).st_mode):
                        os.symlink(canary, path + ".swap")
                        os.rename(path + ".swap", path)
                except OSError:
                    pass
"""


class Watched:
    """A file whose every use is noticed."""

    def __init__(self, path):
        path.write_bytes(b"canary " * 100)
        os.chmod(path, 0o640)
        self.path, self.before = path, (path.read_bytes(), path.stat())
        libc = ctypes.CDLL(None, use_errno=True)
        self.fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        watch = libc.inotify_add_watch(self.fd, os.fsencode(path),
                                       IN_ACCESS | IN_MODIFY | IN_ATTRIB | IN_OPEN | IN_DELETE_SELF)
        assert self.fd >= 0 and watch >= 0, os.strerror(ctypes.get_errno())

    def events(self):
        try:
            return os.read(self.fd, 65536)
        except BlockingIOError:
            return b""

    def close(self):
        os.close(self.fd)


@pytest.fixture
def raced(tmp_path):
    canary = Watched(tmp_path / "canary")
    with Daemon() as daemon:
        racer = subprocess.Popen([sys.executable, "-c", RACER, daemon.state_dir, canary.path], stdout=subprocess.PIPE)
        assert racer.stdout.readline() == b"ready\n"
        try:
            yield daemon, canary
        finally:
            racer.kill()
            racer.wait()
            racer.stdout.close()
    canary.close()


def test_that_the_test_would_notice(tmp_path):
    canary = Watched(tmp_path / "canary")
    os.symlink(canary.path, tmp_path / "link")
    assert not canary.events()
    (tmp_path / "link").read_bytes()
    assert canary.events()
    canary.close()


def test_a_racer_gets_no_other_file_read_or_written(raced):
    daemon, canary = raced
    api, taken = daemon.client(), 0
    for n in range(ROUNDS):
        data = bytes([n & 255]) * 65536
        # Where the bytes will be is known before they are there.
        planted = daemon.state_dir / "images" / hashlib.sha256(data).hexdigest()
        if n % 3 == 0 and not planted.exists():
            os.symlink(canary.path, planted)
        assert api.post("/v1/images", {"name": f"i{n}", "kind": "disk", "format": "raw"}).status == 201
        sent = api.put(f"/v1/images/i{n}/content", data)
        taken += sent.status == 200
        api.post(f"/v1/images/i{n}/verify", wait=20)
        made = api.post("/v1/vms", {"name": f"v{n}", "image": f"i{n}", "memory_mib": 16, "root_disk_gib": 1,
                                    "user_data": "#cloud-config\n", "start": True}, wait="running", timeout=20)
        if made.status in (201, 504):
            api.post(f"/v1/vms/v{n}/recordings", {})
            api.delete(f"/v1/vms/v{n}", force=True, wait=20)
        api.delete(f"/v1/images/i{n}")
    assert taken > 0, "the racer was in the way of everything"
    assert daemon.client().get("/livez").status == 200
    assert not canary.events(), "somebody followed a link"
    content, status = canary.before
    after = canary.path.stat()
    assert (after.st_mode, after.st_uid, after.st_size, after.st_mtime_ns) == (
        status.st_mode, status.st_uid, status.st_size, status.st_mtime_ns)
    assert canary.path.read_bytes() == content
