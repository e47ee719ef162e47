#!/usr/bin/python3
"""turns.py with programs that stand for fuzz targets: what is found fails, and nobody goes without."""
import os
import subprocess
import sys
import tempfile
from pathlib import Path

TURNS = Path(__file__).resolve().parent / "turns.py"
SHELL = "#!/bin/sh\ntrap 'exit 0' USR1\n"
BUSY = SHELL + "while :; do :; done\n"
# At its second turn.
FINDS = SHELL + "if [ -e seen ]; then echo found it; exit 77; fi\n: >seen\nwhile :; do :; done\n"
STOPS = SHELL + "exit 0\n"
WAITS = "#!/bin/sh\nexec tail -f /dev/null\n"


def turns(programs, *options, until=None):
    """(status, output, TAP) with these programs."""
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        (top / "corpus").mkdir()
        for target, text in programs.items():
            program = top / f"fuzz_{target}"
            program.write_text(text)
            program.chmod(0o755)
        if until:
            (top / "until").touch()
        done = subprocess.run([sys.executable, TURNS, "--programs", top, "--corpus", top / "corpus", "--results", top, "--until", top / "until",
                               *options, *programs], capture_output=True, text=True, timeout=300, check=False)
        return done.returncode, done.stdout, (top / "fuzz.tap").read_text()


CASES = []


def case(function):
    CASES.append(function)
    return function


@case
def everybody_gets_as_much():
    status, output, tap = turns({"a": BUSY, "b": BUSY, "c": BUSY}, "--seconds", "0.4", "--least", "0.1", "--jobs", "2", "--patience", "1000")
    assert status == 0 and tap == "1..3\nok 1 - a\nok 2 - b\nok 3 - c\n", output
    assert "targets," in output, output


@case
def what_is_found_in_a_later_slice_fails():
    status, output, tap = turns({"a": BUSY, "b": FINDS}, "--seconds", "0.4", "--least", "0.1", "--jobs", "2", "--patience", "1000")
    assert status == 1 and "ok 1 - a\nnot ok 2 - b: ended with 77\n" in tap and "found it" in output, (tap, output)


@case
def when_the_others_have_ended_each_has_the_least_of_it():
    status, output, tap = turns({"a": BUSY, "b": BUSY}, "--seconds", "60", "--least", "0.2", "--jobs", "1", "--patience", "1000", until=True)
    assert status == 0 and tap.count("\nok") == 2 and "of 60" in output, output


@case
def who_ends_by_itself_or_only_waits_is_no_reason_to_wait():
    status, _, tap = turns({"a": STOPS, "b": WAITS}, "--seconds", "0.2", "--jobs", "2", "--patience", "3", until=True)
    assert status == 1 and "not ok 1 - a: ended before its time\nok 2 - b\n" in tap, tap


print(f"1..{len(CASES)}", flush=True)
failed = 0
for number, function in enumerate(CASES, 1):
    try:
        function()
        print(f"ok {number} - {function.__name__}", flush=True)
    except AssertionError as error:
        failed += 1
        print(f"not ok {number} - {function.__name__}: {str(error)[:2000]!r}", flush=True)
os._exit(bool(failed))
