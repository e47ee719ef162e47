"""A libvirtd of one's own: private directories, an own socket, libvirt's test driver.

    with Libvirtd() as libvirtd:
        with Daemon(libvirt=libvirtd.uri) as daemon: ...
            libvirtd.kill9(); libvirtd.start()

The test driver keeps its domains for as long as some connection to it is open, so one is held (the
anchor): domains survive the daemon's being killed, and vanish with libvirtd. Daemons connect to
uri, whose socket is a link that hide() and show() take away and put back; virsh() goes past it, so
that a test can change things while the daemon cannot look.
"""
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

LIBVIRTD, VIRSH = "/usr/sbin/libvirtd", "/usr/bin/virsh"
NOBODY = 65534
CONFIG = 'auth_unix_rw = "none"\nauth_unix_ro = "none"\nunix_sock_rw_perms = "0777"\n'
START_SECONDS = 60


def available():
    return os.access(LIBVIRTD, os.X_OK) and os.access(VIRSH, os.X_OK)


class Libvirtd:
    def __init__(self, driver="test+unix:///default"):
        # Short, and nobody's: it runs as nobody when the tests run as root.
        self.dir = Path(tempfile.mkdtemp(prefix="drover-lv-"))
        self.root = os.geteuid() == 0
        if self.root:
            os.chown(self.dir, NOBODY, NOBODY)
            self.dir.chmod(0o755)
        (self.dir / "libvirtd.conf").write_text(CONFIG)
        self.socket = self.dir / "libvirt" / "libvirt-sock"
        self.front = self.dir / "front"
        self.uri = f"{driver}?socket={self.front}"
        self.own_uri = f"{driver}?socket={self.socket}"
        self.process, self.anchor, self.drain = None, None, None

    def environment(self):
        names = ("HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME")
        return {"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), "LC_ALL": "C.UTF-8",
                **dict.fromkeys(names, str(self.dir))}

    def start(self, shown=True):
        """Returns when it answers."""
        assert self.process is None
        self.socket.unlink(missing_ok=True)
        who = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if self.root else {}
        with open(self.dir / "libvirtd.log", "ab") as log:
            self.process = subprocess.Popen([LIBVIRTD, "-f", self.dir / "libvirtd.conf"], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, env=self.environment(), **who)
        end = time.monotonic() + START_SECONDS
        while not self.socket.exists():
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < end, f"no socket: {self.log()}"
            time.sleep(0.005)
        # It has an answer, so its connection is there before anybody defines anything: a socket that is
        # connected may still be anybody's, or not yet be open. libvirtd's is there a moment before it
        # listens: who comes too early is refused, and tries again.
        while True:
            self.anchor = subprocess.Popen([VIRSH, "-q", "-c", self.own_uri, "uri; event --all --loop"],
                                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                           stderr=subprocess.DEVNULL, env=self.environment())
            if self.anchor.stdout.readline():
                break
            self.anchor.wait()
            assert time.monotonic() < end, f"the anchor did not connect: {self.log()}"
            time.sleep(0.005)
        self.drain = threading.Thread(target=self.anchor.stdout.read, daemon=True)
        self.drain.start()
        if shown:
            self.show()
        return self

    def show(self):
        if not self.front.is_symlink():
            self.front.symlink_to(self.socket)

    def hide(self):
        self.front.unlink(missing_ok=True)

    def _end_anchor(self):
        if self.anchor:
            self.anchor.kill()
            self.anchor.wait()
            self.drain.join()
            self.anchor.stdout.close()
            self.anchor = None

    def kill9(self):
        self.process.kill()
        self.process.wait()
        self.process = None
        self._end_anchor()

    def stop(self):
        self._end_anchor()
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def log(self):
        path = self.dir / "libvirtd.log"
        return path.read_text(errors="replace")[-3000:] if path.exists() else ""

    # ---- what somebody else does with virsh ----

    def virsh(self, *command, check=True):
        done = subprocess.run([VIRSH, "-q", "-c", self.own_uri, *command], env=self.environment(), capture_output=True,
                              text=True, timeout=60, check=False)
        assert not check or done.returncode == 0, (command, done.stderr)
        return done.stdout

    def define(self, xml):
        path = self.dir / "define.xml"
        path.write_text(xml)
        path.chmod(0o644)
        self.virsh("define", str(path))

    def domains(self):
        """{uuid: XML} of every domain, running or not."""
        uuids = self.virsh("list", "--all", "--uuid").split()
        documents = []
        for i in range(0, len(uuids), 200):
            text = self.virsh(";".join(f"dumpxml --inactive {uuid}" for uuid in uuids[i:i + 200]))
            documents += [part.strip() + "\n</domain>\n" for part in text.split("</domain>")[:-1]]
        assert len(documents) == len(uuids)
        return {uuid: next(d for d in documents if f"<uuid>{uuid}</uuid>" in d) for uuid in uuids}

    def close(self):
        self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.close()
