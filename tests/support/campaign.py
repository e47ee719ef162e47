"""Generated requests in batches, and what must be true after each: see Campaign.

Whether a refusal changed anything is seen twice. The event log and the operations name the request that caused
them: none may name one that was refused. And the whole database (but for what moves by itself) is read before and
after a batch: when nothing in it was taken, nothing may differ. A batch of which something was taken is sent once
more without that, so that this, too, is about nearly every refusal.
"""
import collections
import hashlib
import json
import re
import sqlite3

from daemon import eventually
from pipelined import Client

BATCH = 250
# Waits, which the daemon serves as it should: they would be all that a campaign does.
WAITS = {"timeout", "queue_seconds", "wait", "wait_for_console"}
# What moves by itself: who was here last, how far a delivery is, what is written down about requests themselves.
TABLES_APART = {"audit", "sqlite_sequence", "migrations", "webhook_deliveries", "idempotency"}
COLUMNS_APART = {"last_used_at", "last_seq", "next_attempt_at", "failures", "failing_since", "last_status", "last_error",
                "last_attempt_at", "last_success_at"}
SAME = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\d{4}-\d\d-\d\dT[\d:.]+Z")
LARGE = 200000
# What was refused when it had begun: the image says that an upload to it failed, the VM's list of programs
# that one could not be run.
BEGUN = {"putImageContent", "putImageKernel", "putImageInitrd", "execInVm"}
FINISHED = ("succeeded", "failed", "cancelled")


class Database:
    """The daemon's, read beside it."""

    def __init__(self, state_dir):
        self.sq = sqlite3.connect(f"file:{state_dir}/drover.db?mode=ro", uri=True, isolation_level=None)
        tables = [r[0] for r in self.sq.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        self.columns = {t: ", ".join(c[1] for c in self.sq.execute(f"PRAGMA table_info({t})") if c[1] not in COLUMNS_APART)
                        for t in tables if t not in TABLES_APART}

    def close(self):
        self.sq.close()

    def rows(self, table):
        if table == "events": # only grows
            return self.sq.execute("SELECT MAX(seq), COUNT(*) FROM events").fetchall()
        return self.sq.execute(f"SELECT {self.columns[table]} FROM {table} ORDER BY 1, 2").fetchall()

    def state(self):
        """A digest by table."""
        self.sq.execute("BEGIN")
        found = {t: hashlib.sha256(repr(self.rows(t)).encode()).hexdigest() for t in self.columns}
        self.sq.execute("COMMIT")
        return found

    def quiet(self):
        """The state, once nothing is under way and two looks see the same."""
        seen = []

        def same():
            busy = self.sq.execute(f"SELECT COUNT(*) FROM operations WHERE state NOT IN {FINISHED}").fetchone()[0]
            seen.append(None if busy else self.state())
            return len(seen) > 1 and seen[-1] and seen[-1] == seen[-2] and seen[-1]
        return eventually(same, 120, "an end of what goes on by itself", every=0.03)

    def marks(self):
        return {t: self.sq.execute(f"SELECT COALESCE(MAX(seq), 0) FROM {t}").fetchone()[0] for t in ("events", "operations")}

    def caused(self, marks):
        """The ids of requests that have left an event or an operation since."""
        return {r[0] for t, seq in marks.items() for r in self.sq.execute(f"SELECT request_id FROM {t} WHERE seq > ?", (seq,))}


class Campaign:
    def __init__(self, daemon, contract, generator, world):
        """world(api): what there is by a parameter's name, made again when it is gone, and what is too much taken away."""
        self.daemon, self.contract, self.gen, self.world = daemon, contract, generator, world
        self.api = daemon.client()
        self.api.record = None
        self.client, self.database = Client(daemon.url), Database(daemon.state_dir)
        self.fixed = {"Host": daemon.address, "Authorization": f"Bearer {daemon.admin_token()}"}
        self.seen, self.statuses = set(), collections.Counter()
        self.proven = 0 # refusals after which the database was the same
        self.known = None # the world, until something was taken

    def close(self):
        self.client.close()
        self.database.close()

    # ---- one answer ----

    def judge(self, request, answer):
        """Equal answers are looked at once: an answer's own id, ids and times of things are not looked at again."""
        ident, data, operation = request
        self.statuses[operation.id, answer.status] += 1
        found = re.search(rb"\r\nx-request-id: *([^\r]*)", answer.head, re.I)
        if not found and answer.status in (400, 413, 414, 431) and b"\r\nConnection: close" in answer.head:
            return # libmicrohttpd's own: it does not show us what it cannot read
        assert found, (data[:2000], answer.head)
        told = found[1].decode()
        if f"\r\nX-Request-Id: {ident}\r\n".encode() in data[:data.find(b"\r\n\r\n") + 2]:
            # One whose header is not read to its end is answered under an id of the daemon's.
            assert told == ident or answer.status in (400, 413, 414, 431), (data[:2000], answer.head, answer.body)
        body = answer.body
        if len(body) < LARGE: # else it is a page, a figure or a document, the same each time
            body = SAME.sub(b"", body.replace(told.encode(), b""))
        key = hashlib.blake2b(b"%d %s " % (answer.status, operation.id.encode()) + body, digest_size=12).digest()
        if key in self.seen:
            return
        self.seen.add(key)
        assert answer.status not in (500, 502) or b'"source-unreachable"' in answer.body, (data[:3000], answer.status, answer.body[:3000])
        line = data[:data.find(b"\r\n")].decode("latin-1").split(" ")
        errors = self.contract.check({"method": operation.method, "path": line[1], "status": answer.status,
                                      "headers": answer.headers(), "body": answer.body.decode("utf-8", "replace") or None})
        assert not errors, (errors, data[:3000])

    def exchange(self, requests):
        """(taken, refused, broken) requests."""
        taken, refused, broken = [], [], []
        self.client.close() # may have been idle for long
        for request, answer in self.client.exchange(requests):
            self.judge(request, answer)
            kind = taken if answer.status < 400 else refused if answer.status < 500 else broken
            if kind is not taken or request[2].method != "GET":
                kind.append((*request, answer.status))
        return taken, refused, broken

    # ---- batches ----

    def make(self, operation, count, known, hostile):
        return [self.gen.request(operation, known, hostile, self.fixed, WAITS) for _ in range(count)]

    def settle(self):
        if not self.known:
            self.known = self.world(self.api)
        return self.known, self.database.quiet()

    def left_no_trace(self, marks, refused):
        caused = self.database.caused(marks)
        wrong = [r for r in refused if r[0] in caused]
        assert not wrong, wrong[:3]

    def send(self, operation, count, hostile):
        """One batch, and what it left."""
        known, before = self.settle()
        marks = self.database.marks()
        taken, refused, broken = self.exchange(self.make(operation, count, known, hostile))
        if operation.id in BEGUN:
            self.known = None
            return
        self.left_no_trace(marks, refused)
        if taken or broken:
            self.known = None
            if not refused or not hostile:
                return
            _, before = self.settle()
            taken, refused, broken = self.exchange([r[:3] for r in refused])
            if taken or broken: # it was refused for what was in the way then
                self.known = None
                return
        after = self.database.quiet()
        assert after == before, ([t for t in after if after[t] != before[t]], [r[1] for r in refused][:50])
        self.proven += len(refused)

    def run(self, operation, count, hostile):
        while count > 0:
            self.send(operation, min(count, BATCH), hostile)
            count -= BATCH

    def report(self):
        by_status = collections.Counter()
        for (_, status), n in self.statuses.items():
            by_status[status] += n
        return json.dumps({"requests": sum(by_status.values()), "proven": self.proven, "statuses": dict(sorted(by_status.items()))})
