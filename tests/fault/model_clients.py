"""Random clients on few VMs, and everything they asked and were told, for the model to judge."""
import json
import threading
import time
import uuid

from api_client import Client
from crash_lab import OFFLINE, Violation
from linear import Call

PATIENCE = 30
VERBS = {"start": 6, "stop": 4, "shutdown": 3, "pause": 4, "resume": 4, "save": 3, "delete": 1, "delete+force": 1}
UNFINISHED = ("pending", "running")
# What a client does next, and how often.
WEIGHTS = {"create": 10, "read": 24, "patch": 12, "act": 34, "end": 14, "again": 6}
LISTS = 0.05  # of all calls


def tuples(value):
    return tuple(map(tuples, value)) if isinstance(value, list) else value


class Board:
    """What all clients know of one name, and its history."""

    def __init__(self, name):
        self.name, self.calls, self.ids, self.operations, self.keyed = name, [], [], [], []
        self.generation = 1

    def saved(self):
        begin = min((c.begin for c in self.calls), default=0)
        return [[round(c.begin - begin, 6), round(c.end - begin, 6), c.request, c.answer] for c in self.calls]

    def save(self, path):
        with open(path, "w", encoding="utf-8") as file:
            file.write("[\n" + ",\n".join(json.dumps(row) for row in self.saved()) + "\n]\n")


def load(path):
    with open(path, encoding="utf-8") as file:
        return [Call(begin, end, tuples(request), tuples(answer)) for begin, end, request, answer in json.load(file)]


class Recorder:
    """Asks, and writes down when and what. A call whose answer is lost ends with the daemon's death: ended()."""

    def __init__(self, boards, path):
        self.boards, self.path, self.lock, self.lost, self.lists = boards, str(path), threading.Lock(), [], []

    def ask(self, api, board, request):
        """The answer; or OFFLINE. A refused connection is no call."""
        begin = time.monotonic()
        try:
            response, told = self._send(api, board, request)
        except (ConnectionRefusedError, FileNotFoundError):
            raise
        except TimeoutError:
            raise Violation(f"no answer to {request} within {PATIENCE} s") from None
        except OFFLINE:
            with self.lock:
                self.lost.append((board, begin, request))
            raise
        end = time.monotonic()
        with self.lock:
            board.calls.append(Call(begin, end, request, told))
        self._learn(board, request, told, response)
        return told

    def list(self, api):
        """Everything at one moment, which is one call of each name; a lost answer says nothing."""
        begin = time.monotonic()
        items = api.get("/v1/vms", limit=1000, patience=PATIENCE).json["items"]
        end = time.monotonic()
        rows = {board: tuple((vm["id"], int(vm["etag"]), vm["description"], vm["state"])
                             for vm in items if vm["name"] == board.name) for board in self.boards}
        with self.lock:
            for board, seen in rows.items():
                board.calls.append(Call(begin, end, ("list",), ("list", seen)))
            self.lists.append({row[0]: (row[3] == "deleting", row[1]) for seen in rows.values() for row in seen})

    def ended(self):
        """The daemon is dead: from now on, nothing of it happens."""
        now = time.monotonic()
        for board, begin, request in self.lost:
            board.calls.append(Call(begin, now, request, None))
        self.lost = []

    def note(self, request, begin):
        """Something that all names saw, and no client asked for."""
        for board in self.boards:
            board.calls.append(Call(begin, time.monotonic(), request, ("done",)))

    @staticmethod
    def _learn(board, request, told, response):
        if told[0] == "created":
            if told[1] not in board.ids:
                board.ids.append(told[1])
            operation = response.json["operation"]  # none once it has ended, when it is told again
            if operation and (("create", told[1]), operation["id"]) not in board.operations:
                board.operations.append((("create", told[1]), operation["id"]))
        elif told[0] == "accepted" and (told[1], told[1]) not in board.operations:
            board.operations.append((told[1], told[1]))
        elif told[0] == "vm":
            board.generation = told[2]

    def _send(self, api, board, request):
        what = request[0]
        if what == "create":
            _, key, start, description, _ = request
            r = api.post("/v1/vms", {"name": board.name, "memory_mib": 16, "networks": [], "vsock": False, "start": start,
                                     "description": description}, headers={"Idempotency-Key": key}, patience=PATIENCE)
            return r, ("created", r.json["id"], r.json["state"]) if r.status == 201 else ("refused", r.code)
        if what == "operation":
            number = next(real for name, real in board.operations if name == request[1])
            r = api.get(f"/v1/operations/{number}", patience=PATIENCE)
            if r.status != 200:
                return r, ("refused", r.code)
            return r, ("state", "unfinished" if r.json["state"] in UNFINISHED else r.json["state"])
        vm = f"/v1/vms/{request[1] or board.name}"
        if what == "act":
            _, _, verb, key, generation = request
            headers = {"Idempotency-Key": key, "If-Match": generation and f'"{generation}"'}
            if verb.startswith("delete"):
                r = api.delete(vm, force=verb == "delete+force" or None, headers=headers, patience=PATIENCE)
            else:
                r = api.post(f"{vm}/{verb}", headers=headers, patience=PATIENCE)
            return r, ("accepted", r.json["id"]) if r.status == 202 else ("refused", r.code)
        if what == "read":
            r = api.get(vm, patience=PATIENCE)
        else:
            r = api.patch(vm, {"description": request[2]}, patience=PATIENCE,
                          headers={"If-Match": request[3] and f'"{request[3]}"'})
        if r.status != 200:
            return r, ("refused", r.code)
        return r, ("vm", r.json["id"], int(r.header("ETag").strip('"')), r.json["description"], r.json["state"])


class RandomClient(threading.Thread):
    """Asks until its budget is spent, or its daemon is gone."""

    def __init__(self, recorder, rng, actions):
        super().__init__(daemon=True)
        self.recorder, self.rng, self.actions, self.failure = recorder, rng, actions, None
        self.api = Client(recorder.path)

    def run(self):
        try:
            for _ in range(self.actions):
                if self.rng.random() < LISTS:
                    self.recorder.list(self.api)
                    continue
                board = self.rng.choice(self.recorder.boards)
                self.recorder.ask(self.api, board, self._request(board))
        except OFFLINE:
            pass
        except Exception as e:  # pylint: disable=broad-except
            self.failure = e

    def _ref(self, board):
        """By name or, as the youngest or one before it, by id."""
        if board.ids and self.rng.random() < 0.5:
            return self.rng.choice(board.ids[-2:])
        return None

    def _request(self, board):
        rng = self.rng
        what = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        if what == "end" and board.operations:
            return ("operation", rng.choice(board.operations[-4:])[0])
        if what == "again" and board.keyed:
            return rng.choice(board.keyed[-6:])
        key = str(uuid.UUID(int=rng.getrandbits(128))) if rng.random() < 0.4 else None
        generation = rng.choice([board.generation, board.generation, max(1, board.generation - 1)])
        if what == "create" or not board.ids:
            request = ("create", key, rng.random() < 0.5, f"c{rng.randrange(1000)}", "")
        elif what == "patch":
            return ("patch", self._ref(board), f"d{rng.randrange(1000)}", generation if rng.random() < 0.5 else None)
        elif what == "act":
            verb = rng.choices(list(VERBS), list(VERBS.values()))[0]
            matched = verb.startswith("delete") and rng.random() < 0.3
            request = ("act", self._ref(board), verb, key, generation if matched else None)
        else:
            return ("read", self._ref(board))
        if key:
            board.keyed.append(request)
        return request
