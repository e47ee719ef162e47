"""What must be true after every fault, asked of the daemon, of libvirt, of the disk and of SQLite."""
import re
import shutil
import sqlite3
import tempfile
from pathlib import Path

from daemon import eventually

UNFINISHED = ("pending", "running")
QUIET_SECONDS = 60
FINAL = {"stopped", "running", "paused", "saved", "crashed"}


def pages(api, path, **query):
    """Every item of a list, over all its pages."""
    cursor = None
    while True:
        answer = api.get(path, limit=query.pop("limit", 1000), cursor=cursor, **query)
        assert answer.status == 200, answer
        yield from answer.json["items"]
        cursor = answer.json.get("next_cursor")
        if not cursor:
            return


def vms(api):
    return list(pages(api, "/v1/vms"))


def operations(api):
    return {op["id"]: op for op in pages(api, "/v1/operations")}


def unsuccessful(api):
    """All operations but those that succeeded. What was queued when its VM's deletion was promised is
    cancelled: that is how it is to be, and nothing else may be cancelled."""
    return [op for op in operations(api).values() if op["state"] != "succeeded"
            and not (op["state"] == "cancelled" and op["kind"] != "vm.delete"
                     and api.get(f"/v1/vms/{op['vm_id']}").status == 404)]


def quiet(api, seconds=QUIET_SECONDS):
    """Waits until no operation is left to be done."""
    eventually(lambda: not any(list(pages(api, "/v1/operations", state=s)) for s in UNFINISHED), seconds,
               "every operation's end", every=0.05)


def install_id(daemon):
    with copied_database(daemon.state_dir) as db:
        return db.execute("SELECT value FROM meta WHERE key = 'install_id'").fetchone()[0]


class copied_database:
    """A copy of the database and its journal, opened so that nothing can be written."""

    def __init__(self, state_dir):
        self.state_dir = Path(state_dir)

    def __enter__(self):
        self.dir = tempfile.mkdtemp(prefix="drover-copy-")
        for name in ("drover.db", "drover.db-wal"):
            if (self.state_dir / name).exists():
                shutil.copy(self.state_dir / name, self.dir)
        self.db = sqlite3.connect(f"file:{self.dir}/drover.db", uri=True)
        self.db.execute("PRAGMA query_only = ON")
        return self.db

    def __exit__(self, *_):
        self.db.close()
        shutil.rmtree(self.dir)


def database_is_sound(state_dir):
    """Of a daemon that does not run or is quiet."""
    with copied_database(state_dir) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []


def owned(domains, install):
    """Those that carry our mark for exactly this installation and this uuid."""
    return {uuid: xml for uuid, xml in domains.items()
            if re.search(rf'install=[\'"]{install}[\'"]', xml) and
            re.search(rf'<drover:vm[^>]* id=[\'"]{uuid}[\'"]', xml)}


def events_are_gapless(api):
    """Every event since the first, in order, none missing, none twice."""
    since, seen = 0, []
    while True:
        items = api.get("/v1/events", since=since, limit=1000).json["items"]
        if not items:
            break
        seen += items
        since = items[-1]["seq"]
    assert [e["seq"] for e in seen] == list(range(1, len(seen) + 1))
    return seen


def everything_agrees(daemon, libvirtd, canaries=None):
    """Rows, domains, directories and names describe the same VMs. Returns the VMs."""
    api = daemon.client()
    listed = vms(api)
    ids = {vm["id"] for vm in listed}
    assert len(ids) == len(listed)
    domains = libvirtd.domains()
    mine = owned(domains, install_id(daemon))
    assert set(mine) == ids, (f"domains without a row: {set(mine) - ids}, "
                              f"rows without a domain: {[vm for vm in listed if vm['id'] not in mine]}")
    for xml, vm in ((mine[vm["id"]], vm) for vm in listed):
        # The second while another of that name was about to go.
        assert any(f"<name>{name}</name>" in xml for name in (vm["name"], f"{vm['name']}.{vm['id'][:8]}")), xml
    directories = {p.name for p in (daemon.state_dir / "vms").iterdir()}
    assert directories == ids, f"left over: {directories - ids}, missing: {ids - directories}"
    for what, values in (("name", [vm["name"] for vm in listed]),
                         ("cid", [vm["vsock_cid"] for vm in listed if vm["vsock_cid"]]),
                         ("mac", [n["mac"] for vm in listed for n in vm["networks"]])):
        assert len(set(values)) == len(values), f"a {what} twice: {sorted(values)}"
    running = set(libvirtd.virsh("list", "--uuid").split())
    for vm in listed:
        assert vm["state"] in FINAL, vm
        assert (vm["id"] in running) == (vm["state"] in ("running", "paused")), vm
    if canaries is not None:
        assert {uuid: domains.get(uuid) for uuid in canaries} == canaries, "somebody else's domains were touched"
    database_is_sound(daemon.state_dir)
    return listed
