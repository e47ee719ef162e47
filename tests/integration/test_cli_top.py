"""drover top on a terminal: what a tick says, the keys, and the line about merged memory."""
import contextlib
import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

import pytest
from fake_server import FakeServer
from test_cli import DROVER

GIB = 1 << 30
# Each column puts another one first.
FIGURES = {"alpha": (50.0, 1, 3, 10, 30, 20, 10, 2), "bravo": (10.0, 3, 1, 20, 10, 30, 20, 1), "charlie": (20.0, 2, 2, 30, 20, 10, 30, 3)}
MEMBERS = ("cpu_percent", "resident_bytes", "promised_bytes", "storage_read_bytes_per_second", "storage_write_bytes_per_second",
           "receive_bytes_per_second", "transmit_bytes_per_second", "ksm_saved_bytes")
BYTES = ("resident_bytes", "promised_bytes", "ksm_saved_bytes")
ITEMS = [{"vm_id": f"id-{name}", **{m: v * GIB if m in BYTES else v for m, v in zip(MEMBERS, values)}} for name, values in FIGURES.items()]
HOST = {"available_bytes": 10 * GIB, "total_bytes": 64 * GIB, "ksm_saved_bytes": 6 * GIB, "ksmd_cpu_percent": 2.5}


def server(host, items=ITEMS):
    """Each tick comes in two parts, as a large one does."""

    def answer(request):
        if request.path.startswith("/v1/vms"):
            request.json({"items": [{"id": f"id-{n}", "name": n} for n in FIGURES], "next_cursor": None})
            return
        out = request.stream()
        with contextlib.suppress(OSError): # it has seen enough
            for part, some in ((1, items[:1]), (2, items[1:])):
                tick = {"tick": 7, "part": part, "parts": 2, "host": host, "items": some}
                out.write(f"data: {json.dumps(tick)}\n\n".encode())
                out.flush()

    return FakeServer(answer)


def clean(where, url):
    return {**{k: v for k, v in os.environ.items() if not k.startswith("DROVER_")}, "DROVER_URL": url, "DROVER_TOKEN": "t",
            "HOME": str(where), "TERM": "xterm", "NO_COLOR": "1"}


@contextlib.contextmanager
def terminal(url, where, *options, rows=30):
    """(press, screen): screen(pattern) is the first whole drawing from now on that has it."""
    pid, fd = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, 160, 0, 0))
        os.execve(DROVER, ["drover", "top", *options], clean(where, url))
    seen = b""

    def screen(pattern):
        nonlocal seen
        deadline = time.monotonic() + 30
        while True:
            for drawing in seen.split(b"\x1b[H\x1b[2J")[1:]:
                text = drawing.decode().replace("\r", "")
                if re.search(pattern, text, re.DOTALL):
                    seen = b""
                    return text
            assert select.select([fd], [], [], max(0, deadline - time.monotonic()))[0], (pattern, seen)
            seen += os.read(fd, 4096)

    def press(key):
        os.write(fd, key)

    try:
        yield press, screen
        press(b"q")
        with contextlib.suppress(OSError):
            while os.read(fd, 4096):
                pass
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        pid = None
    finally:
        os.close(fd)
        if pid:
            os.kill(pid, 9)
            os.waitpid(pid, 0)


def order(*names):
    return r"VM +CPU .*" + ".*".join(rf"\n{name} " for name in names)


def test_a_key_chooses_the_order(tmp_path):
    by = {b"c": ("cpu", 0), b"m": ("memory", 1), b"p": ("promised", 2), b"r": ("read", 3), b"w": ("written", 4), b"i": ("in", 5),
          b"o": ("out", 6), b"s": ("saved", 7)}
    with server(HOST) as running, terminal(running.url, tmp_path, "--delay", "3600") as (press, screen):
        screen(r"by cpu; keys: .*q quit.*" + order("alpha", "charlie", "bravo"))
        for key, (name, column) in reversed(by.items()):
            press(key)
            screen(rf"by {name}; .*" + order(*sorted(FIGURES, key=lambda n, c=column: -FIGURES[n][c])))
        press(b"s")
        shown = screen("by saved; .*" + order("charlie", "alpha", "bravo"))
        assert shown.split("charlie", 1)[1].splitlines()[0].split()[-2:] == ["3.0", "GiB"]
        press(b"n")
        screen("by name; .*" + order("alpha", "bravo", "charlie"))
        press(b"x") # means nothing
        screen("by name; ")
    assert sum(r.path.startswith("/v1/stats") for r in running.requests) == 1, "a key draws what is there"


def test_it_says_what_merging_saves_and_costs(tmp_path):
    with server(HOST) as running, terminal(running.url, tmp_path) as (_, screen):
        assert screen("VMs run").startswith("3 VMs run; 10.0 GiB of 64.0 GiB memory free; KSM saves 6.0 GiB and takes 2.5 % of a CPU\n")
        screen("3 VMs run") # it looks again by itself


@pytest.mark.parametrize("host, says", [
    ({**HOST, "ksm_saved_bytes": None, "ksmd_cpu_percent": None}, "KSM saves - and takes"), ({}, "- of - memory free; KSM saves -")])
def test_what_is_not_known_is_no_number(tmp_path, host, says):
    with server(host) as running:
        done = subprocess.run([DROVER, "top"], capture_output=True, timeout=60, env=clean(tmp_path, running.url), check=True, text=True)
    assert says in done.stdout and "takes 0.0" not in done.stdout and "alpha" in done.stdout and "keys:" not in done.stdout


def test_a_small_terminal_says_how_many_more_there_are(tmp_path):
    with server(HOST) as running, terminal(running.url, tmp_path, "--sort", "saved", rows=6) as (press, screen):
        screen(r"charlie .*\nand 2 more\n$")
        press(b"n")
        screen(r"alpha .*\nand 2 more\n$")


def test_sorted_once_for_a_pipe(tmp_path):
    with server(HOST) as running:
        done = subprocess.run([DROVER, "top", "--sort", "saved"], capture_output=True, timeout=60, check=True, text=True,
                              env=clean(tmp_path, running.url))
    assert [line.split()[0] for line in done.stdout.splitlines()[2:]] == ["VM", "charlie", "alpha", "bravo"]
