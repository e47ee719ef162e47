#!/usr/bin/python3
"""Random clients on few VMs, a daemon and a libvirtd that die beneath them; then the model judges.

    tests/fault/model_campaign.py --seed 1 --lives 20
    tests/fault/model_campaign.py --check tests/fault/histories/x.json

The last line is JSON. Ends with 1 when a history is not one that the model could have had, and writes
that one down.
"""
import argparse
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "support"), str(TESTS / "fault")]
os.environ["DROVER_BUILD"] = os.environ.get("DROVER_CRASH_BUILD") or os.environ.get("DROVER_BUILD", str(TESTS.parent / "build"))

# pylint: disable=wrong-import-position
from api_client import Client  # noqa: E402
from crash_lab import Lab, Violation  # noqa: E402
from crash_points import BUGS  # noqa: E402
from daemon import eventually  # noqa: E402
from linear import Search, torn  # noqa: E402
from model_clients import Board, RandomClient, Recorder, load  # noqa: E402
from vm_model import ENDS, VmModel  # noqa: E402

NAMES, CLIENTS, ACTIONS = 3, 6, 30
ENDINGS = ("kill", "kill", "quiet", "libvirtd")
QUIET_SECONDS = 20


class Campaign:
    """Each round has a budget of its own, new names, and a history that is judged at its end."""

    def __init__(self, args):
        self.args, self.rng = args, random.Random(args.seed)
        self.lab = Lab(bug=args.bug)
        self.calls, self.largest, self.searching, self.undecided, self.round, self.lists = 0, 0, 0.0, 0, 0, 0
        self.lives = dict.fromkeys(sorted(set(ENDINGS)), 0)

    def run(self):
        self.lab.start()
        begin = time.monotonic()
        while sum(self.lives.values()) < self.args.lives and time.monotonic() - begin < (self.args.seconds or 1e9):
            self.round += 1
            self.one_round()

    def one_round(self):
        boards = [Board(f"vm-{self.round}-{n}") for n in range(NAMES)]
        recorder = Recorder(boards, self.lab.state / "drover.sock")
        for _ in range(self.rng.randint(1, 3)):
            self.one_life(recorder)
        self._settled(recorder)
        for board in boards:
            self._judge(board)
        apart = torn(recorder.lists)
        if apart:
            raise Violation(f"two lists, neither of which is the earlier one: {apart}")
        self.lists += len(recorder.lists)
        self._empty(boards)

    def one_life(self, recorder):
        ending = self.args.only or self.rng.choice(ENDINGS)
        self.lives[ending] += 1
        clients = [RandomClient(recorder, random.Random(self.rng.random()), ACTIONS) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        target = sum(len(b.calls) for b in recorder.boards) + self.rng.randrange(1, CLIENTS * ACTIONS)
        if ending != "quiet":
            eventually(lambda: sum(len(b.calls) for b in recorder.boards) >= target or
                       not any(c.is_alive() for c in clients), 60, "the moment", every=0.001)
        if ending == "kill":
            self.lab.kill()
            recorder.ended()
        elif ending == "libvirtd":
            self._restart_libvirtd(recorder)
        for client in clients:
            client.join(60)
            if client.is_alive() or client.failure:
                raise client.failure or Violation("a request hangs")
        if ending == "kill":
            recorder.ended()
            self.lab.start()

    def _restart_libvirtd(self, recorder):
        """Its guests' power is gone with it; until all is compared again nothing is said about them."""
        begin = time.monotonic()
        self.lab.conn.close()
        self.lab.libvirtd.kill9()
        recorder.note(("link", "down"), begin)
        eventually(lambda: self.lab.link.ask("GET", "/readyz")[0] == 503, 10, "the loss' being noticed", every=0.005)
        self.lab.libvirtd.start()
        self.lab.reopen()
        eventually(lambda: self.lab.link.ask("GET", "/readyz")[0] == 200, 10, "being in sync", every=0.005)
        begin = time.monotonic()
        recorder.note(("link", "up"), begin)

    def _settled(self, recorder):
        """No operation is left; then everything is read once more."""
        api = Client(recorder.path)
        for board in recorder.boards:
            for operation, number in board.operations:
                # With ?wait= and not in the history, which it would make long.
                value = api.get(f"/v1/operations/{number}", wait=QUIET_SECONDS).json
                if value.get("state") not in ENDS:
                    raise Violation(f"the operation {number} of {board.name} does not end: {value}; {self.lab.log()}")
                if self.rng.random() < 0.3:
                    recorder.ask(api, board, ("operation", operation))
            for ref in (None, *board.ids):
                recorder.ask(api, board, ("read", ref))

    def _judge(self, board):
        begin = time.monotonic()
        search = Search(board.calls, VmModel(board.calls))
        try:
            wrong = search.run()
        except OverflowError as e:
            print(f"undecided: {board.name}: {e}")
            self.undecided, wrong = self.undecided + 1, None
        self.searching += time.monotonic() - begin
        self.calls += len(board.calls)
        self.largest = max(self.largest, search.largest)
        if wrong:
            path = Path(tempfile.gettempdir()) / f"drover-history-{self.args.seed}-{board.name}.json"
            board.save(path)
            raise Violation(f"{wrong}\nwritten down in {path}; {self.lab.log()}")

    def _empty(self, boards):
        api = Client(str(self.lab.state / "drover.sock"))
        for board in boards:
            api.delete(f"/v1/vms/{board.name}", force=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--lives", type=int, default=20, help="so many ends of a daemon or a libvirtd, or none")
    parser.add_argument("--seconds", type=float, default=0, help="end after so long, however many lives it were")
    parser.add_argument("--bug", choices=sorted(BUGS), help="with this mistake compiled in and made")
    parser.add_argument("--only", choices=sorted(set(ENDINGS)), help="how every life ends; else at random")
    parser.add_argument("--check", help="only judge the history in this file")
    args = parser.parse_args()
    if args.check:
        calls = load(args.check)
        wrong = Search(calls, VmModel(calls)).run()
        print(wrong or "as the model could have done")
        return 1 if wrong else 0
    campaign, begin, why = Campaign(args), time.monotonic(), None
    try:
        campaign.run()
    except (AssertionError, OSError) as error:
        why = f"{type(error).__name__}: {error}"
    finally:
        campaign.lab.close()
    result = {"seed": args.seed, "violation": why and why[:200], "lives": campaign.lives, "rounds": campaign.round,
              "calls": campaign.calls, "lists": campaign.lists, "seconds": round(time.monotonic() - begin, 1),
              "undecided": campaign.undecided,
              "searching": round(campaign.searching, 1), "largest": campaign.largest}
    if why:
        print(f"{why}\nagain: {' '.join(sys.argv)}{'' if '--seed' in sys.argv else f' --seed {args.seed}'}")
    print(json.dumps(result))
    return 1 if why else 0


if __name__ == "__main__":
    sys.exit(main())
