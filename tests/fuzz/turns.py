#!/usr/bin/python3
"""Runs fuzz targets in turns, several at a time, until each has had its share of processor time.

    turns.py --programs DIR --corpus DIR --results DIR [--seconds N] [--least N --until FILE] [--jobs N] NAME...

NAME is of a program DIR/fuzz_NAME, made with libFuzzer. Each gets `least` seconds of a processor first, then
slices until it has had `seconds`. Once FILE is there nobody is waited for any longer: what has had the least of it
is interrupted, and the rest gets no more than that. What a target finds fails it: the input is in CORPUS/NAME, the
end of its output in RESULTS/fuzz-NAME.log. RESULTS/fuzz.tap says of each how it went and for how long it ran.
"""
import argparse
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

STORED = Path(__file__).resolve().parent / "corpus"
SLICE = 15 # seconds of a processor, so that who comes last does not go without
LOOK = 0.1
TICKS = os.sysconf("SC_CLK_TCK")
# A wall clock, and beside busy suites a target may stand still for long: not the ten seconds of an idle machine.
INPUT_SECONDS = 120


class Target:
    def __init__(self, name, options):
        self.name, self.options = name, options
        self.cpu = self.wall = self.runs = 0
        self.wrong, self.process, self.stopped = "", None, False
        self.corpus, self.log = options.corpus / name, options.results / f"fuzz-{name}.log"
        self.corpus.mkdir(parents=True, exist_ok=True)
        self.log.write_bytes(b"")

    def had(self, seconds, patience):
        return self.wrong or self.cpu >= seconds or self.wall >= patience * seconds

    def start(self, goal):
        """Until it has had that many seconds."""
        self.goal, self.begun, self.stopped = goal, time.monotonic(), False
        self.part = self.log.with_suffix(".part")
        command = [self.options.programs / f"fuzz_{self.name}", f"-timeout={INPUT_SECONDS}", "-rss_limit_mb=1024",
                   "-print_final_stats=1", self.corpus]
        with open(self.part, "wb") as out:
            self.process = subprocess.Popen(command + ([STORED / self.name] if (STORED / self.name).exists() else []),
                                            stdout=out, stderr=out, stdin=subprocess.DEVNULL, cwd=self.corpus)

    def running_cpu(self):
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        except OSError:
            return 0
        return (int(fields[11]) + int(fields[12])) / TICKS

    def look(self, enough, patience):
        """Whether it has ended. enough: what it has had by now will do."""
        pid, status, usage = os.wait4(self.process.pid, os.WNOHANG)
        if not pid:
            cpu, wall = self.cpu + self.running_cpu(), self.wall + time.monotonic() - self.begun
            if not self.stopped and (cpu >= self.goal or wall >= patience * self.goal or (enough and cpu >= enough)):
                # After this input. (At SIGINT libFuzzer ends in the handler: in the middle of a free() it never does.)
                self.stopped = time.monotonic()
                self.process.send_signal(signal.SIGUSR1)
            elif self.stopped and time.monotonic() - self.stopped > INPUT_SECONDS + 30: # it says itself when one takes that long
                self.process.kill()
            return False
        self.process.returncode = os.waitstatus_to_exitcode(status)
        self.cpu += usage.ru_utime + usage.ru_stime
        self.wall += time.monotonic() - self.begun
        text = self.part.read_bytes()
        self.part.unlink()
        self.log.write_bytes(self.log.read_bytes()[-20000:] + text[-200000:])
        if found := re.search(rb"stat::number_of_executed_units: (\d+)", text) or re.findall(rb"\n#(\d+)\s", text)[-1:]:
            self.runs += int(found[1] if isinstance(found, re.Match) else found[0])
        if self.process.returncode != 0 and not (self.stopped and self.process.returncode == -signal.SIGUSR1):
            self.wrong = f"ended with {self.process.returncode}"
        elif not self.stopped:
            self.wrong = "ended before its time"
        self.process = None
        return True


def run(options):
    targets = [Target(name, options) for name in options.names]
    least, running = min(options.least or options.seconds, options.seconds), []
    try:
        while True:
            over = bool(options.until and options.until.exists())
            # Seconds of the clock for one of a processor: a target that waits for something has an end, too. Beside
            # others who does not run is no sign of that.
            patience = options.patience * (10 if options.until and not over else 1)
            running = [t for t in running if not t.look(over and least, patience)]
            goal = least if over else options.seconds
            waiting = sorted((t for t in targets if not t.process and not t.had(goal, patience)), key=lambda t: t.cpu)
            for target in waiting[:options.jobs - len(running)]:
                target.start(least if target.cpu < least else min(target.cpu + SLICE, options.seconds))
                running.append(target)
            if not running:
                return targets
            time.sleep(LOOK)
    finally:
        for target in running:
            target.process.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("programs", "corpus", "results", "until"):
        parser.add_argument(f"--{name}", type=lambda text: Path(text).resolve(), required=name != "until")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--least", type=float)
    parser.add_argument("--patience", type=float, default=30)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("names", nargs="+")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    targets = run(options)
    with open(options.results / "fuzz.tap", "w", encoding="ascii") as tap:
        print(f"1..{len(targets)}", file=tap)
        for number, t in enumerate(targets, 1):
            print(f"{'not ok' if t.wrong else 'ok'} {number} - {t.name}{': ' if t.wrong else ''}{t.wrong}", file=tap)
    for t in sorted(targets, key=lambda t: t.cpu):
        print(f"fuzz: {t.name}: {t.cpu:.0f} s, {t.runs} inputs{', ' if t.wrong else ''}{t.wrong}")
    print(f"fuzz: {len(targets)} targets, {sum(t.cpu for t in targets):.0f} s of a processor, each {min(t.cpu for t in targets):.0f} s "
          f"or more of {options.seconds:.0f}, {sum(t.runs for t in targets)} inputs")
    for t in targets:
        if t.wrong:
            print(f"---- {t.name}\n" + t.log.read_text(encoding="utf-8", errors="replace")[-4000:])
    return 1 if any(t.wrong for t in targets) else 0


if __name__ == "__main__":
    sys.exit(main())
