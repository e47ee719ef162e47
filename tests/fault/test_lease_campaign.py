"""Leases by the thousand, while clients vanish and the daemon is killed: no VM twice, none left, none early."""
import json
import random
import socket
import threading
import time
import uuid

from daemon import eventually
from invariants import copied_database, database_is_sound, quiet
from load import OFFLINE

POOL = {"vm": {"memory_mib": 16, "networks": []}, "ready": 6, "max": 16}
EARLY_SECONDS, GRACE_SECONDS = 0.05, 30


class Campaign:
    """Clients that ask, renew, give back, forget and vanish; each cycle is one lease asked for."""

    def __init__(self, daemon, rng, cycles, clients=4):
        self.daemon, self.left, self.lock, self.failures = daemon, cycles, threading.Lock(), []
        self.served = 0
        self.threads = [threading.Thread(target=self.run, args=(random.Random(rng.random()),)) for _ in range(clients)]

    def take(self):
        with self.lock:
            self.left -= 1
            return self.left >= 0

    def run(self, rng):
        while self.take() and not self.failures:
            try:
                self.cycle(rng)
            except Exception as why:  # whatever it is, the test is to say so
                self.failures.append(repr(why))

    def patiently(self, call):
        """Again and again while the daemon is away; the answer to the last try."""
        end = time.monotonic() + 60
        while True:
            try:
                answer = call(self.daemon.client())
                if answer.status != 503:
                    return answer
            except OFFLINE:
                pass
            assert time.monotonic() < end, "the daemon did not come back"
            time.sleep(0.05)

    def cycle(self, rng):
        body = {"pool": "many", "ttl_seconds": rng.choice([1, 1, 2, 3]), "queue_seconds": 30, "holder": "campaign"}
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        if rng.random() < 0.1:
            self.vanish(body, headers)
        ask = lambda api: api.post("/v1/leases", body, headers=headers, wait="claimed", timeout=30)  # noqa: E731
        first = self.patiently(ask)
        assert first.status == 201, first
        again = self.patiently(lambda api: api.post("/v1/leases", body, headers=headers))
        assert again.status == 201 and again.json["id"] == first.json["id"], "one key, one lease"
        assert again.json["vm"] == first.json["vm"], "and one VM"
        path = f"/v1/leases/{first.json['id']}"
        fate = rng.random()
        if fate < 0.2:
            renewed = self.patiently(lambda api: api.patch(path, {"ttl_seconds": 2}))
            assert renewed.status == 200 or renewed.code == "lease-state-conflict", renewed
        if fate < 0.9:
            assert self.patiently(lambda api: api.delete(path)).json["state"] == "ended"
        with self.lock:
            self.served += 1

    def vanish(self, body, headers):
        """Sends the request and is gone before the answer."""
        text = json.dumps(body).encode()
        head = "".join(f"{k}: {v}\r\n" for k, v in headers.items())
        try:
            host, port = self.daemon.address.rsplit(":", 1)
            with socket.create_connection((host, int(port)), timeout=5) as s:
                s.sendall((f"POST /v1/leases HTTP/1.1\r\nHost: {self.daemon.address}\r\nAuthorization: Bearer "
                           f"{self.daemon.admin_token()}\r\nContent-Type: application/json\r\n{head}"
                           f"Content-Length: {len(text)}\r\n\r\n").encode() + text)
        except OFFLINE:
            pass


def alive(campaign):
    return any(thread.is_alive() for thread in campaign.threads)


def leases_in(db):
    return db.execute("SELECT id, vm_id, end_reason, expires_at, ended_at FROM leases ORDER BY seq").fetchall()


def nothing_is_left(daemon, libvirtd):
    api = daemon.client()
    assert api.delete("/v1/pools/many").status == 204
    eventually(lambda: not [x for x in api.get("/v1/leases", limit=1000).json["items"] if x["state"] != "ended"],
               90, "the end of every lease")
    eventually(lambda: not api.get("/v1/vms").json["items"], 90, "the end of every VM")
    quiet(api)
    assert len(libvirtd.domains()) == 1, "only the domain that the test driver brings is left"
    assert not list((daemon.state_dir / "vms").iterdir()), "disks and seeds are left"
    database_is_sound(daemon.state_dir)
    with copied_database(daemon.state_dir) as db:
        assert db.execute("SELECT COUNT(*) FROM cids WHERE released_at = 0").fetchone() == (0,)
        assert db.execute("SELECT COUNT(*) FROM pool_members").fetchone() == (0,)
        return leases_in(db)


def test_ten_thousand_leases(libvirtd, make_daemon, rng, long):
    """250 in a run of every day, 10,000 with DROVER_TEST_LONG."""
    daemon = make_daemon(libvirt=libvirtd.uri).start()
    assert daemon.client().put("/v1/pools/many", POOL).status == 201
    campaign = Campaign(daemon, rng, 250 if long == 1 else 10000)
    for thread in campaign.threads:
        thread.start()
    kills = 0
    while alive(campaign) and not campaign.failures:
        before, more = campaign.served, rng.randrange(20, 60)
        eventually(lambda: campaign.served >= before + more or not alive(campaign), 120, "leases are served")
        if not alive(campaign):
            break
        daemon.kill9()
        daemon.start()
        kills += 1
    for thread in campaign.threads:
        thread.join()
    assert not campaign.failures, campaign.failures[0]
    assert kills >= 3
    leases = nothing_is_left(daemon, libvirtd)
    handed_out = [vm for _, vm, _, _, _ in leases if vm]
    twice = [row for row in leases if row[1] and handed_out.count(row[1]) > 1]
    assert not twice, f"VMs were handed out twice: {twice}"
    for lease, _, reason, expires_at, ended_at in leases:
        late = (ended_at - expires_at) / 1000
        assert reason in ("expired", "released", "not-served"), (lease, reason)
        if reason == "expired":
            assert -EARLY_SECONDS <= late < GRACE_SECONDS, (lease, late)


def test_the_last_vm_is_one_clients(libvirtd, make_daemon):
    """64 ask at once for what is there once: one has it, and 63 are told when to come back."""
    daemon = make_daemon(libvirt=libvirtd.uri).start()
    api, start, answers = daemon.client(), threading.Barrier(64), []
    assert api.put("/v1/pools/many", {**POOL, "ready": 1, "max": 1}).status == 201
    eventually(lambda: api.get("/v1/pools/many").json["status"]["ready"] == 1, 60)

    def ask():
        client = daemon.client()
        start.wait()
        answers.append(client.post("/v1/leases", {"pool": "many", "ttl_seconds": 600}, patience=60))

    threads = [threading.Thread(target=ask) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won = [a for a in answers if a.status == 201]
    lost = [a for a in answers if a.status == 429 and a.code == "pool-exhausted" and int(a.header("Retry-After")) >= 1]
    assert (len(won), len(lost)) == (1, 63), [a for a in answers if a not in won + lost]
    assert api.delete(f"/v1/leases/{won[0].json['id']}").status == 200
    nothing_is_left(daemon, libvirtd)


def test_one_key_is_one_vm_whatever_dies(libvirtd, make_daemon, rng, long):
    """Asked before, in the middle of, and after a kill: the same lease, and the same VM."""
    daemon = make_daemon(libvirt=libvirtd.uri).start()
    assert daemon.client().put("/v1/pools/many", POOL).status == 201
    eventually(lambda: daemon.client().get("/v1/pools/many").json["status"]["ready"] == POOL["ready"], 60)
    for _ in range(6 * long):
        body, key = {"pool": "many", "ttl_seconds": 600}, {"Idempotency-Key": str(uuid.uuid4())}
        seen, begun = [], threading.Event()

        def ask(client, seen=seen, begun=begun, body=body, key=key):
            while True:
                begun.set()
                try:
                    answer = client.post("/v1/leases", body, headers=key)
                except OFFLINE:
                    return
                if answer.status == 201:
                    seen.append(answer.json)

        threads = [threading.Thread(target=ask, args=(daemon.client(),)) for _ in range(3)]
        for thread in threads:
            thread.start()
        begun.wait()
        if rng.random() < 0.5:
            eventually(lambda seen=seen: seen, 30)
        daemon.kill9()
        for thread in threads:
            thread.join()
        api = daemon.start().client()
        eventually(lambda: api.get("/readyz").status == 200, 30)
        for _ in range(2):
            answer = api.post("/v1/leases", {**body}, headers=key)
            assert answer.status == 201, answer
            seen.append(answer.json)
        assert len({(s["id"], s["vm"]["id"]) for s in seen}) == 1, seen
        assert api.delete(f"/v1/leases/{seen[0]['id']}").status == 200
    nothing_is_left(daemon, libvirtd)
