"""The file that tests/support/failing_calls.c maps: which places call the kernel, and the one that shall fail."""
import errno
import mmap
import re
import struct
from collections import namedtuple
from pathlib import Path

from daemon import BUILD

SHIM = BUILD / "tests" / "failing_calls.so"
SOURCE = Path(__file__).resolve().parents[1] / "support" / "failing_calls.c"
SHORT = 10000
CALL_ROWS, MODULE_ROWS, NAME = 64, 128, 32
HEAD = 32
SITES = HEAD + NAME * (CALL_ROWS + MODULE_ROWS)
SITE_COUNT = 16384

FILES = "EIO ENOSPC EMFILE ENFILE EINTR ENOMEM EACCES"
NAMES = "EIO ENOSPC EACCES ENOMEM"
DESCRIPTORS = "EMFILE ENFILE ENOMEM"
# Only what the kernel may say of a call, and only once: what goes on is another test's (test_disk.py, test_limits.py).
ERRORS = {
    "open": FILES, "openat": FILES, "opendir": "EIO EMFILE ENFILE ENOMEM EACCES", "mkostemp": FILES,
    "read": "EIO EINTR EAGAIN SHORT", "pread": "EIO EINTR SHORT", "readv": "EIO EINTR EAGAIN",
    "write": "EIO ENOSPC EINTR EAGAIN SHORT", "pwrite": "EIO ENOSPC EINTR SHORT", "writev": "EIO ENOSPC EINTR EAGAIN",
    "pwritev": "EIO ENOSPC EINTR", "fsync": "EIO ENOSPC EINTR", "fdatasync": "EIO ENOSPC EINTR",
    "rename": NAMES, "unlink": "EIO EACCES ENOMEM", "unlinkat": "EIO EACCES ENOMEM", "mkdir": NAMES, "rmdir": "EIO EACCES ENOMEM",
    "link": NAMES, "ftruncate": "EIO ENOSPC EINTR", "fallocate": "EIO ENOSPC EINTR EOPNOTSUPP", "fchmod": "EIO EPERM EINTR",
    "flock": "EINTR ENOLCK", "copy_file_range": "EIO ENOSPC ENOMEM EXDEV",
    "socket": DESCRIPTORS + " EACCES", "socketpair": DESCRIPTORS, "bind": "EACCES ENOMEM", "listen": "EADDRINUSE",
    "connect": "EINTR EAGAIN ECONNREFUSED EACCES", "accept4": "EMFILE ENFILE ENOMEM EINTR EAGAIN ECONNABORTED",
    "recv": "ECONNRESET EINTR EAGAIN ENOMEM SHORT", "send": "ECONNRESET EPIPE EINTR EAGAIN ENOMEM SHORT",
    "recvmsg": "ECONNRESET EINTR EAGAIN ENOMEM", "sendmsg": "ECONNRESET EPIPE EINTR EAGAIN ENOMEM",
    "shutdown": "ENOTCONN",
    "epoll_create1": DESCRIPTORS, "epoll_ctl": "ENOMEM ENOSPC", "epoll_wait": "EINTR", "poll": "EINTR ENOMEM",
    "eventfd": DESCRIPTORS, "pipe2": "EMFILE ENFILE", "memfd_create": DESCRIPTORS, "clone": "EAGAIN ENOMEM",
    "pthread_create": "EAGAIN", "mmap": "ENOMEM EAGAIN", "getrandom": "EINTR",
    "malloc": "ENOMEM", "calloc": "ENOMEM", "realloc": "ENOMEM",
}

Site = namedtuple("Site", "key call module offset")


def number(name):
    return SHORT if name == "SHORT" else getattr(errno, name)


class Ledger:
    def __init__(self, path):
        path.write_bytes(bytes(SITES + 16 * SITE_COUNT))
        self.path = path
        with open(path, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), 0)

    def _name(self, offset):
        return self.memory[offset:offset + NAME].split(b"\0")[0].decode()

    def site(self, key):
        return Site(key, self._name(HEAD + NAME * ((key >> 48) - 1)),
                    self._name(HEAD + NAME * (CALL_ROWS + (key >> 40 & 0xff))), key & (1 << 40) - 1)

    def counts(self):
        """{key: how often it was passed}, of those that were."""
        rows = struct.iter_unpack("<QQ", self.memory[SITES:SITES + 16 * SITE_COUNT])
        return {key: count for key, count in rows if count}

    def forget_counts(self):
        """Keys stay: a daemon that runs goes on with them."""
        for i in range(SITE_COUNT):
            struct.pack_into("<Q", self.memory, SITES + 16 * i + 8, 0)

    def arm(self, key, passes, error):
        struct.pack_into("<qq", self.memory, 16, passes, number(error))
        struct.pack_into("<Q", self.memory, 0, key)

    def disarm(self):
        struct.pack_into("<Q", self.memory, 0, 0)

    @property
    def failed(self):
        return struct.unpack_from("<Q", self.memory, 8)[0]


def calls():
    """Those that the library knows, as its source has them."""
    return set(re.findall(r"X\((\w+)\)", re.search(r"#define CALLS\(X\).*?\n\n", SOURCE.read_text(), re.S)[0])) - {"X"}
