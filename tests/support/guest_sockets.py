"""The guests' side of the stand-in for vsock: Unix sockets in a directory (service/vsock/vsock_shim.c).

Only sanitizer builds have the stand-in; `available(build)` tells.
"""
import itertools
import os
import socket
import tempfile
from pathlib import Path

PATIENCE = 30


def available(droverd):
    """Whether this build of the daemon contains the stand-in."""
    return b"DROVER_VSOCK_SHIM" in Path(droverd).read_bytes()


class GuestSockets:
    def __init__(self):
        self.holder = tempfile.TemporaryDirectory(prefix="drover-vsock-")
        self.path = Path(self.holder.name)
        self.numbers = itertools.count(1)

    @property
    def env(self):
        return {"DROVER_VSOCK_SHIM": str(self.path)}

    def listen(self, cid, port):
        """A guest listens on a port: a listening socket; accept() on it."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        path = self.path / f"{cid}.{port}"
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        listener.listen(16)
        listener.settimeout(PATIENCE)
        return listener

    def dial(self, cid, port):
        """A guest dials the host."""
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.settimeout(PATIENCE)
        made.bind(str(self.path / f"{cid}.from-{os.getpid()}-{next(self.numbers)}"))
        made.connect(str(self.path / f"host.{port}"))
        return made

    def close(self):
        self.holder.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
