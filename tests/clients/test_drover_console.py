"""`drover console` on a terminal, with a real guest: typing, detaching, and the daemon going away meanwhile."""
import contextlib
import os
import pty
import re
import select
import subprocess
import time

from rig import BUILD, HELLO, SLOW

DETACH = b"\x1d"  # Ctrl-]


class Terminal(contextlib.AbstractContextManager):
    """A command on a terminal of its own, and everything it showed."""

    def __init__(self, *command):
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
        os.close(slave)
        self.shown, self.seen = b"", 0

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)

    def more(self, seconds):
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self.master, 65536)
        except OSError:  # the terminal's other end is closed
            return False
        self.shown += data
        return bool(data)

    def expect(self, pattern, seconds=SLOW):
        end = time.monotonic() + seconds
        while not (match := re.compile(pattern).search(self.shown, self.seen)):
            assert self.more(max(0, end - time.monotonic())), f"{pattern!r} did not come: {self.shown[-2000:]!r}"
        self.seen = match.end()

    def type(self, data):
        os.write(self.master, data)

    def detach(self):
        self.type(DETACH)
        while self.more(30):
            pass
        return self.process.wait(30)


def console(rig, vm, *more):
    return Terminal(BUILD / "drover", "--socket", rig.socket_path, "console", vm, *more)


def test_typing_and_detaching(rig, hello):
    with console(rig, hello) as terminal:
        terminal.expect(re.escape(HELLO))
        terminal.type(b"typed at a terminal")
        terminal.expect(rb"typed at a terminal")
        terminal.type("\x03käse\x1b[A".encode())  # signals and escapes are the guest's
        terminal.expect("\x03käse\x1b\\[A".encode())
        assert terminal.detach() == 0
    assert rig.vm(hello)["state"] == "running"


def test_the_daemon_goes_and_comes_and_nothing_is_shown_twice(make_rig):
    rig = make_rig().start()
    vm = rig.create(wait="console")["id"]
    with console(rig, vm) as terminal:
        terminal.expect(re.escape(HELLO))
        terminal.type(b"before")
        terminal.expect(rb"before")
        rig.restart()
        with rig.console(vm, mode="view") as other:
            other.expect(re.escape(HELLO))
        deadline = time.monotonic() + SLOW
        while b"back again" not in terminal.shown:  # what is typed while nobody listens may be lost
            assert time.monotonic() < deadline, terminal.shown
            terminal.type(b"<back again>")
            terminal.more(1)
        assert terminal.detach() == 0
        assert terminal.shown.count(HELLO) == 1 and terminal.shown.count(b"before") == 1
