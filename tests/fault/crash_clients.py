"""Clients of a daemon that is killed: what they asked for, what they were told, and what must be so.

Each thing (a VM, a lease, an image) has one client, which sends one request about it at a time. A
request whose answer is missing is sent again after the restart, with the same key: then everything
is known, and each thing has exactly one state that it may be in.
"""
import random
import threading
import time
import uuid

from crash_checks import _seconds, wait_until
from crash_lab import MIB, OFFLINE, PATIENCE, Link, Violation

THINGS = 3  # of one client and kind, at most
BASES = {"base": b"\x11" + bytes(MIB - 1), "other": b"\x22" + bytes(MIB - 1)}
POOL = {"vm": {"memory_mib": 16, "networks": [], "vsock": True}, "ready": 2, "max": 40, "ttl_seconds": 600}


class Call:
    def __init__(self, method, path, body=None, then=None, ok=(200, 201, 202, 204), pardon=()):
        """then(value, status): what its success means; pardon: refusals that mean nothing happened."""
        self.method, self.path, self.body, self.then, self.ok, self.pardon = method, path, body, then, ok, pardon
        self.headers = {} if isinstance(body, bytes) or method == "PATCH" else {"Idempotency-Key": str(uuid.uuid4())}
        self.sent = 0

    def _ask(self, link):
        """A libvirtd that had no processor for five seconds counts as away; who is patient asks until it is back."""
        end = time.monotonic() + 20 * PATIENCE
        while True:
            status, value = link.ask(self.method, self.path, self.body, self.headers)
            if PATIENCE <= 1 or status != 503 or value["code"] != "hypervisor-unavailable" or time.monotonic() > end:
                return status, value
            time.sleep(0.05)

    def send(self, link):
        self.sent += 1
        status, value = self._ask(link)
        if status in self.ok:
            self.then(value, status)
        elif status == 409 and self.method == "PUT" and self.sent > 1:
            self.then(None, status)  # it has come: what a conversion started from cannot be compared
        elif not (status in self.pardon or (status == 404 and self.method == "DELETE" and self.sent > 1)):
            raise Violation(f"{self} answers {status}: {value}")
        elif status == 404:
            self.then(None, status)

    def __repr__(self):
        return f"{self.method} {self.path} (sent {self.sent} times)"


class Thing:
    def __init__(self, kind, name):
        self.kind, self.name, self.id, self.state = kind, name, None, None
        self.unknown, self.operation, self.value = None, None, {}

    def __repr__(self):
        return f"<{self.kind} {self.name} {self.id} {self.state}>"


class Ledger:
    """All things of all clients."""

    def __init__(self):
        self.things, self.lock, self.answered, self.repeated = [], threading.Lock(), 0, 0

    def add(self, thing):
        with self.lock:
            self.things.append(thing)
        return thing

    def settle(self, link):
        """Every request whose answer is missing, once more."""
        for thing in list(self.things):
            if not thing.unknown and not thing.id:
                self.things.remove(thing)  # its request was never sent
            if thing.unknown:
                self.repeated += 1
                thing.unknown.send(link)
                thing.unknown = None

    def check(self, lab):
        """What clients were told is so (I1, I2, I7, I9); of a daemon that is quiet."""
        vms = {vm["id"]: vm for vm in lab.items("/v1/vms?limit=1000")}
        images = {i["id"]: i for i in lab.items("/v1/images?limit=1000")}
        known, failed = set(), lab.page("/v1/operations?state=failed&limit=10")
        if failed:
            raise Violation(f"operations failed: {failed}; {lab.log()}")
        for t in list(self.things):
            if t.kind == "vm":
                known.add(t.id)
                self._vm(t, vms)
            elif t.kind == "image":
                self._image(t, images)
            else:
                known.add(self._lease(t, lab.get(f"/v1/leases/{t.id}")))
            if t.state == "gone":
                self.things.remove(t)
        strange = [vm["name"] for i, vm in vms.items()
                   if i not in known and not vm["name"].startswith(("many-", "set-", "model"))]
        if strange:
            raise Violation(f"VMs that nobody asked for: {strange}")

    @staticmethod
    def _vm(t, vms):
        vm = vms.get(t.id)
        if (vm is None) != (t.state == "gone"):
            raise Violation(f"{t} is {'not there' if vm is None else vm['state']}")
        if vm and (vm["state"] != t.state or vm["name"] != t.name or vm["description"] != t.value["description"]):
            raise Violation(f"{t} {t.value} is {vm['state']} ({vm['state_reason']}), {vm['description']}")
        if vm and t.value.get("image") and vm["image"] != t.value["image"]:
            raise Violation(f"{t} stands on {vm['image']} instead of {t.value['image']}")

    @staticmethod
    def _image(t, images):
        image = images.get(t.id)
        if (image is None) != (t.state == "gone"):
            raise Violation(f"{t} is {'not there' if image is None else image['state']}")
        if image and image["state"] != t.state:
            raise Violation(f"{t} is {image['state']}: {image['state_reason']}")

    @staticmethod
    def _lease(t, lease):
        if t.state == "released" and lease["state"] != "ended":
            raise Violation(f"{t} was given back and is {lease['state']}")
        if t.state == "active":
            if lease["vm"]["id"] != t.value["vm"]["id"]:
                raise Violation(f"{t} has another VM than its holder was told")
            if time.time() < _seconds(t.value["expires_at"]) - 0.05 and lease["state"] != "active":
                raise Violation(f"{t} ended early: {lease}")
            if lease["state"] == "active" and lease["expires_at"] < t.value["expires_at"]:
                raise Violation(f"{t} got less time than was promised: {lease}")
        if lease["state"] == "ended":
            t.state = "gone"
        return (lease["vm"] or {}).get("id")


class Client:
    def __init__(self, number, ledger, path):
        self.number, self.ledger, self.link, self.made, self.seen = number, ledger, Link(path), 0, 0

    # ---- one action ----

    def act(self, rng, weights, tag):
        self.rng, self.tag = rng, tag
        names = list(weights)
        action = rng.choices(names, [weights[n] for n in names])[0]
        getattr(self, action)()

    def _mine(self, kind, states):
        mine = [t for t in self.ledger.things if t.kind == kind and t.value.get("client") == self.number
                and not t.unknown and t.state in states and not t.value.get("brief")]
        return self.rng.choice(mine) if mine else None

    def _new(self, kind):
        if sum(t.kind == kind and t.value.get("client") == self.number and t.state not in ("gone", "released") and not t.value.get("brief")
               for t in self.ledger.things) >= THINGS:
            return None
        self.made += 1
        thing = self.ledger.add(Thing(kind, f"{kind}-{self.tag}-{self.number}-{self.made}"))
        thing.value["client"] = self.number
        return thing

    def _send(self, thing, call):
        thing.unknown = call
        call.send(self.link)
        thing.unknown = None
        with self.ledger.lock:
            self.ledger.answered += 1

    def _settled(self, thing):
        """Its last operation is over, so that the next one is allowed."""
        while thing.operation:
            status, op = self.link.ask("GET", f"/v1/operations/{thing.operation}?wait=10")
            given_up = status == 200 and op["state"] == "cancelled" and op["kind"].startswith("image.")
            if status != 200 or (op["state"] in ("failed", "cancelled") and not given_up):
                raise Violation(f"the operation of {thing}: {op}")
            if op["state"] == "succeeded" or given_up:  # its image was deleted meanwhile
                thing.operation = None

    def follow(self):
        """The events since the last look: none missing, none twice, whatever died in between (I8)."""
        status, page = self.link.ask("GET", f"/v1/events?since={self.seen}&limit=1000")
        numbers = [e["seq"] for e in page["items"]] if status == 200 else []
        if numbers != list(range(self.seen + 1, self.seen + 1 + len(numbers))):
            raise Violation(f"events after {self.seen}: {numbers}")
        self.seen = numbers[-1] if numbers else self.seen

    # ---- VMs ----

    def create(self):
        thing = self._new("vm")
        if not thing:
            return None
        start = self.rng.random() < 0.6
        body = {"name": thing.name, "memory_mib": 16, "vsock": True, "start": start, "description": "",
                "networks": [{"mode": "user"}]}
        if self.rng.random() < 0.5:
            body["image"] = "base"
        if self.rng.random() < 0.2:
            body["disks"] = [{"size_gib": 1}]
        if self.rng.random() < 0.3:
            body["user_data"] = "#cloud-config\n"
        thing.value.update(image=body.get("image"), description="")

        def made(value, _status):
            thing.id, thing.state = value["id"], "running" if start else "stopped"
            thing.operation = (value.get("operation") or {}).get("id")
        return self._send(thing, Call("POST", "/v1/vms", body, made))

    def delete(self):
        thing = self._mine("vm", ("running", "stopped", "paused", "saved"))
        if not thing:
            return self.create()
        if self.rng.random() < 0.5 or thing.value.get("copies"):
            self._settled(thing)  # what is deleted while its disk is read ends that operation, as it says

        def gone(_value, _status):
            thing.state, thing.operation = "gone", None
        return self._send(thing, Call("DELETE", f"/v1/vms/{thing.id}?force=true", None, gone))

    def _verb(self, verb, states, after):
        thing = self._mine("vm", states)
        if not thing:
            return self.create()
        self._settled(thing)

        def done(value, _status):
            thing.state, thing.operation = after, value["id"]
        wait = "?wait=10" if self.rng.random() < 0.3 else ""
        return self._send(thing, Call("POST", f"/v1/vms/{thing.id}/{verb}{wait}", None, done))

    def start(self):
        self._verb("start", ("stopped", "saved"), "running")

    def stop(self):
        self._verb("stop", ("running", "paused", "saved"), "stopped")

    def shutdown(self):
        self._verb("shutdown", ("running",), "stopped")

    def pause(self):
        self._verb("pause", ("running",), "paused")

    def resume(self):
        self._verb("resume", ("paused",), "running")

    def save(self):
        self._verb("save", ("running", "paused"), "saved")

    def describe(self):
        thing = self._mine("vm", ("running", "stopped", "paused", "saved"))
        if not thing:
            return self.create()
        text = f"d{self.rng.random()}"

        def done(_value, _status):
            thing.value["description"] = text
        return self._send(thing, Call("PATCH", f"/v1/vms/{thing.id}", {"description": text}, done))

    def rebase(self):
        standing = [t for t in self.ledger.things if t.kind == "vm" and t.value.get("client") == self.number
                    and not t.unknown and t.state == "stopped" and t.value.get("image")]
        if not standing:
            return self.create()
        thing = self.rng.choice(standing)
        self._settled(thing)
        image = "other" if thing.value["image"] == "base" else "base"

        def done(value, _status):
            thing.value["image"], thing.operation = image, value["id"]
        return self._send(thing, Call("POST", f"/v1/vms/{thing.id}/rebase?wait=20", {"image": image}, done))

    # ---- images ----

    def image(self):
        thing = self._new("image")
        if not thing:
            return None
        converts = self.rng.random() < 0.3
        body = {"name": thing.name, "kind": "disk", "format": "qcow2" if converts else "raw"}
        if converts:
            body["source"] = {"format": "raw"}

        def made(value, _status):
            thing.id, thing.state = value["id"], "empty"
        self._send(thing, Call("POST", "/v1/images", body, made))
        return self._fill(thing)

    def _fill(self, thing):
        data = self.rng.choice([b"\x33", b"\x44"]) + bytes(self.rng.choice([0, 0, 511]) + 511)
        data = data[:512] if len(data) < 1023 else data + b"\x00"

        def ready(_value, _status):
            thing.state = "ready"
        self._send(thing, Call("PUT", f"/v1/images/{thing.id}/content", data, ready,
                               pardon=(409,) if thing.value.get("filled") else ()))

    def fill(self):
        thing = self._mine("image", ("empty",))
        return self._fill(thing) if thing else self.image()

    def forget_image(self):
        thing = self._mine("image", ("ready", "empty"))
        if not thing:
            return self.create()

        def gone(_value, _status):
            thing.state = "gone"
        return self._send(thing, Call("DELETE", f"/v1/images/{thing.id}", None, gone))

    def publish(self):
        standing = [t for t in self.ledger.things if t.kind == "vm" and t.value.get("client") == self.number
                    and not t.unknown and t.state == "stopped" and t.value.get("image")]
        thing = self._new("image") if standing else None
        if not thing:
            return None
        vm = self.rng.choice(standing)
        self._settled(vm)
        vm.value["copies"] = True

        def made(value, _status):
            thing.id, thing.state = value["id"], "ready"
            vm.operation = (value.get("operation") or {}).get("id")
        return self._send(thing, Call("POST", "/v1/images", {"name": thing.name, "kind": "disk", "format": "qcow2",
                                                             "source": {"vm": vm.id}}, made))

    # ---- leases ----

    def lease(self):
        thing = self._new("lease")
        if not thing:
            return None
        body = {"pool": "many", "ttl_seconds": self.rng.choice([1, 2, 600, 600, 600])}
        if self.rng.random() < 0.2:
            body = {"vm": {"name": thing.name, "memory_mib": 16, "vsock": True}, "ttl_seconds": 600}

        def made(value, _status):
            thing.id, thing.state = value["id"], "active"
            # Some are left to end by themselves.
            thing.value.update(vm=value["vm"], expires_at=value["expires_at"], brief=value["ttl_seconds"] < 10)
        try:
            return self._send(thing, Call("POST", "/v1/leases", body, made, pardon=(409, 429, 503)))
        finally:
            if not thing.id and not thing.unknown:
                self.ledger.things.remove(thing)  # the pool was empty

    def renew(self):
        thing = self._mine("lease", ("active",))
        if not thing:
            return self.lease()

        def done(value, _status):
            thing.value["expires_at"] = value["expires_at"]
        return self._send(thing, Call("PATCH", f"/v1/leases/{thing.id}", {"ttl_seconds": self.rng.choice([600, 700])},
                                      done, pardon=(409,)))

    def repool(self):
        """Fewer or more that wait; one that is surplus goes. What counts is that it agrees with itself."""
        thing = Thing("pool", "many")
        self._send(thing, Call("PUT", "/v1/pools/many", {**POOL, "ready": self.rng.randint(1, 3)}, lambda *_: None))

    def release(self):
        thing = self._mine("lease", ("active",))
        if not thing:
            return self.lease()

        def done(_value, _status):
            thing.state = "released"
        return self._send(thing, Call("DELETE", f"/v1/leases/{thing.id}", None, done))


COMMON = {"create": 5, "delete": 3, "start": 3, "stop": 3, "shutdown": 0.5, "pause": 1, "resume": 1, "save": 1, "describe": 2,
          "lease": 2, "renew": 1, "release": 1, "image": 0.5, "forget_image": 0.3, "rebase": 0.05, "publish": 0.05, "repool": 0.2, "follow": 2}
BOOST = {"create": ("create", 10), "start": ("create start", 10), "delete": ("delete create", 12), "stop": ("stop", 20),
         "save": ("save start", 20), "lease": ("lease renew release", 15), "pool": ("lease release repool", 20), "pause": ("pause start", 20),
         "resume": ("pause resume start", 20), "shutdown": ("shutdown start", 20),
         "image": ("image forget_image", 40), "disk": ("rebase create stop", 20)}


def weights_for(point):
    weights = dict(COMMON)
    names, factor = BOOST.get((point or "").split(".")[0], ("", 1))
    for name in names.split():
        weights[name] = weights[name] * factor if weights[name] >= 1 else factor
    return weights


class Load:
    """Clients in threads of their own until the daemon is gone or their actions are through."""

    def __init__(self, clients, seed, tag, weights, actions):
        self.failures, self.left, self.lock = [], actions, threading.Lock()
        self.threads = [threading.Thread(target=self._run, args=(c, random.Random(f"{seed}/{tag}/{c.number}"), weights,
                                                                 tag), daemon=True) for c in clients]

    def _run(self, client, rng, weights, tag):
        client.link.close()
        while True:
            with self.lock:
                self.left -= 1
                if self.left < 0 or self.failures:
                    return
            try:
                client.act(rng, weights, tag)
            except OFFLINE:
                client.link.close()
                return
            except Exception as why:  # pylint: disable=broad-except
                self.failures.append(why)
                return

    def run(self, lab, deadline):
        for thread in self.threads:
            thread.start()
        while lab.alive() and any(t.is_alive() for t in self.threads) and time.monotonic() < deadline:
            time.sleep(0.0005)

    def join(self):
        for thread in self.threads:
            thread.join(30)
            if thread.is_alive():
                raise Violation("a request hangs although the daemon is gone")
        if self.failures:
            raise self.failures[0]


def furnish(lab, checks_wait):
    """The images and the pool that all lives share."""
    link = lab.link
    for name, data in BASES.items():
        for answer in (link.ask("POST", "/v1/images", {"name": name, "kind": "disk", "format": "raw"}),
                       link.ask("PUT", f"/v1/images/{name}/content", data)):
            if answer[0] not in (200, 201):
                raise Violation(f"{name}: {answer}")
    status, model = link.ask("POST", "/v1/vms", {"name": "model", "memory_mib": 16})
    status, pool = link.ask("PUT", "/v1/pools/many", POOL)
    if status != 201:
        raise Violation(f"the pool: {pool}")
    checks_wait(lab)
    wait_until(lambda: model["id"] in lab.domains(), "the model's domain")
    lab.plant_canaries(model["id"])
