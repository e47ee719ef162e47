"""Clients that create and delete, remember what they were told, and are cut off at any moment."""
import http.client
import threading
import time
import uuid

OFFLINE = (OSError, http.client.HTTPException)


class Call:
    """One request that was sent at least once; status is None while its answer is not known."""

    def __init__(self, kind, name, body=None):
        self.kind, self.name, self.body = kind, name, body
        self.key = str(uuid.uuid4())
        self.status, self.id, self.operation = None, None, None

    def send(self, api):
        headers = {"Idempotency-Key": self.key}
        if self.kind == "create":
            answer = api.post("/v1/vms", self.body, headers=headers)
        else:
            answer = api.delete(f"/v1/vms/{self.id}", force=True, headers=headers)
        self.status = answer.status
        if answer.status == 201:
            self.id, self.operation = answer.json["id"], (answer.json.get("operation") or {}).get("id")
        elif answer.status == 202:
            self.operation = answer.json["id"]
        return answer

    def __repr__(self):
        return f"<{self.kind} {self.name} {self.id} {self.status}>"


class History:
    """What all clients know, over all rounds."""

    def __init__(self):
        self.lock = threading.Lock()
        self.creates, self.deletes, self.count = {}, {}, 0

    def creation(self, name, body):
        with self.lock:
            call = self.creates[name] = Call("create", name, body)
            self.count += 1
            return call

    def deletion(self, rng):
        """Of a VM that was acknowledged and that nobody else deletes; None without one."""
        with self.lock:
            names = sorted(n for n, c in self.creates.items() if c.status == 201 and n not in self.deletes)
            if not names:
                return None
            call = Call("delete", rng.choice(names))
            call.id = self.creates[call.name].id
            self.deletes[call.name] = call
            self.count += 1
            return call


def definition(name, rng, **more):
    return {"name": name, "memory_mib": 16, "cpus": 1, "vsock": True, "start": rng.random() < 0.5,
            "networks": [{"mode": "user"}], **more}


class Clients:
    """Threads that share a budget of actions; each stops when its daemon is gone."""

    def __init__(self, daemon, history, rng, actions, threads=6, prefix="vm", deletes=0.45, define=definition):
        self.history, self.prefix, self.define = history, prefix, define
        self.left, self.deletes, self.done = actions, deletes, 0
        self.lock, self.failures = threading.Lock(), []
        self.progress = threading.Condition()
        url = daemon.client()
        self.threads = [threading.Thread(target=self._run, args=(url, type(rng)(rng.random()), i), daemon=True)
                        for i in range(threads)]

    def start(self):
        for thread in self.threads:
            thread.start()
        return self

    def join(self, seconds=60):
        end = time.monotonic() + seconds
        for thread in self.threads:
            thread.join(max(0.0, end - time.monotonic()))
            assert not thread.is_alive(), "a request hangs"
        assert not self.failures, self.failures

    def wait_for(self, count, seconds=60):
        """Until so many actions are answered, or all clients are through."""
        end = time.monotonic() + seconds
        with self.progress:
            while self.done < count and any(t.is_alive() for t in self.threads):
                assert time.monotonic() < end, f"only {self.done} of {count} actions"
                self.progress.wait(0.05)

    def _take(self):
        with self.lock:
            self.left -= 1
            return self.left + 1

    def _send(self, call, api):
        return call.send(api)

    def _run(self, api, rng, number):
        api.check = None  # the load is not what is checked against the contract
        while (turn := self._take()) > 0:
            call = self.history.deletion(rng) if rng.random() < self.deletes else None
            if not call:
                name = f"{self.prefix}-{number}-{turn}"
                call = self.history.creation(name, self.define(name, rng))
            try:
                answer = self._send(call, api)
            except OFFLINE:
                return
            except Exception as e:  # pylint: disable=broad-except
                self.failures.append(repr(e))
                return
            if answer.status not in (201, 202):
                self.failures.append(f"{call}: {answer}")
                return
            with self.progress:
                self.done += 1
                self.progress.notify_all()
