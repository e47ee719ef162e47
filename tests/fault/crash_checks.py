"""What must be true after every crash: I1 to I13 of the design, and I14, asked from outside."""
import re
import stat
import time

from crash_lab import PATIENCE, Violation

SETTLE_SECONDS, PERSISTS_SECONDS = 60 * PATIENCE, 30 * PATIENCE
FINAL = {"stopped", "running", "paused", "saved"}
LATE_SECONDS = 10


def wait_until(condition, what, seconds=None):
    seconds = seconds or SETTLE_SECONDS
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise Violation(f"{what} did not happen within {seconds} s")
        time.sleep(0.004)
    return value


def is_quiet(lab):
    return not (lab.page("/v1/operations?state=pending&limit=1") or lab.page("/v1/operations?state=running&limit=1"))


def quiet(lab):
    """Until no operation is left to be done: whatever was promised has happened."""
    try:
        wait_until(lambda: is_quiet(lab), "quiet")
    except Violation as why:
        busy = [op for state in ("pending", "running") for op in lab.page(f"/v1/operations?state={state}")]
        raise Violation(f"{why}: {busy[:5]}; {lab.log()}") from None


class Checks:
    def __init__(self, lab):
        self.lab, self.install, self.seen_events, self.kills = lab, lab.install_id(), 0, 0
        self.patience = PERSISTS_SECONDS

    def all(self):
        """Looks again while something moves (a lease ends, a pool is filled): what is wrong stays wrong."""
        self.kills += 1
        end = time.monotonic() + self.patience
        while True:
            quiet(self.lab)
            try:
                self._agree()
                break
            except Violation:
                if time.monotonic() > end:
                    raise
                time.sleep(0.01)
        self._events()
        self._database(whole=self.kills % 20 == 0)

    def _agree(self):
        lab = self.lab
        vms = {vm["id"]: vm for vm in lab.items("/v1/vms?limit=1000")}
        domains = lab.domains()
        mine = {u: d for u, d in domains.items() if re.search(rf"install=['\"]{self.install}['\"]", d[0])
                and re.search(rf"<drover:vm[^>]* id=['\"]{u}['\"]", d[0])}
        if set(mine) != set(vms):  # I1, I3
            raise Violation(f"domains without a row: {set(mine) - set(vms)}; rows without a domain: "
                            f"{[vms[i] for i in set(vms) - set(mine)]}")
        try:
            self._files(vms)
        except FileNotFoundError as why:
            # A lease that ends meanwhile takes its files along; what is really missing is so the next time, too.
            raise Violation(f"gone while it was looked at: {why.filename}") from None
        self._unique(vms)
        for i, vm in vms.items():
            if vm["state"] not in FINAL:
                raise Violation(f"the VM {vm['name']} is {vm['state']}: {vm['state_reason']}; {lab.log()}")
            if f"<name>{vm['name']}</name>" not in mine[i][0]:
                raise Violation(f"libvirt knows {vm['name']} by another name")
            if bool(mine[i][1]) != (vm["state"] in ("running", "paused")):
                raise Violation(f"{vm['name']} is {vm['state']}, and libvirt says otherwise")
        self._quota(vms)
        self._leases(vms)
        if lab.canaries:
            lab.canaries_live(domains)  # I10

    def _files(self, vms):
        """I4: files and rows describe the same things; nothing half-made, nobody else's mode."""
        state = self.lab.state
        directories = {p.name for p in (state / "vms").iterdir() if p.is_dir()}
        if directories != set(vms):
            raise Violation(f"directories left over: {directories - set(vms)}, missing: {set(vms) - directories}")
        for vm in vms.values():
            names = {p.name for p in (state / "vms" / vm["id"]).iterdir()}
            half = {n for n in names if n.endswith((".part", ".new", ".flat", ".based"))}
            if half:
                raise Violation(f"half-made files of {vm['name']}: {half}")
            if vm.get("image") and "root.qcow2" not in names:
                raise Violation(f"{vm['name']} has no root disk: {names}")
        contents = {f["sha256"] for image in self.lab.items("/v1/images?limit=1000") for f in image["files"].values()}
        there = {p.name for p in (state / "images").iterdir() if re.fullmatch("[0-9a-f]{64}", p.name)}
        if there != contents:
            raise Violation(f"content of nobody: {there - contents}; missing: {contents - there}")
        for name in there:
            if stat.S_IMODE((state / "images" / name).stat().st_mode) != 0o444:
                raise Violation(f"image content {name} can be written")
        left = [p.name for p in (state / "images" / "tmp").iterdir() if not p.name.startswith((".", "fetch-"))]
        if left:
            raise Violation(f"left in images/tmp: {left}")

    @staticmethod
    def _unique(vms):
        for what, values in (("name", [vm["name"] for vm in vms.values()]),  # I5
                             ("cid", [vm["vsock_cid"] for vm in vms.values() if vm["vsock_cid"]]),
                             ("mac", [n["mac"] for vm in vms.values() for n in vm["networks"]])):
            if len(set(values)) != len(values):
                raise Violation(f"a {what} twice: {sorted(values)}")

    def _quota(self, vms):
        usage = self.lab.get("/v1/quotas")["project"]["usage"]  # I6
        sums = {"vms": len(vms), "cpus": sum(vm["cpus"] for vm in vms.values()),
                "memory_mib": sum(vm["memory_mib"] for vm in vms.values())}
        if any(usage[k] != v for k, v in sums.items()):
            raise Violation(f"usage {usage} is not the sum {sums}")

    def _leases(self, vms):
        """I7, and no VM is anybody's twice, nor one of a lease that is over still there."""
        now, holders = time.time(), {}
        for lease in self.lab.items("/v1/leases?limit=1000"):
            vm = (lease["vm"] or {}).get("id")
            ends = _seconds(lease["expires_at"])
            if lease["state"] == "ended":
                if lease["end_reason"] == "expired" and _seconds(lease["ended_at"]) < ends - 0.05:
                    raise Violation(f"a lease ended early: {lease}")
                if vm in vms and lease["on_expiry"] == "delete":
                    raise Violation(f"the VM of a lease that ended is there: {lease}")
                continue
            if lease["state"] == "active":
                if vm not in vms:
                    raise Violation(f"a lease without its VM: {lease}")
                if holders.setdefault(vm, lease["id"]) != lease["id"]:
                    raise Violation(f"one VM, two leases: {lease['id']} and {holders[vm]}")
                if now > ends + LATE_SECONDS:
                    raise Violation(f"a lease is over and lives: {lease}")

    def _events(self):
        """I8: no gap since the last look, nothing twice."""
        while True:
            items = self.lab.page(f"/v1/events?since={self.seen_events}&limit=1000")
            if not items:
                return
            numbers = [e["seq"] for e in items]
            if numbers != list(range(self.seen_events + 1, self.seen_events + 1 + len(numbers))):
                raise Violation(f"events after {self.seen_events}: {numbers}")
            self.seen_events = numbers[-1]

    def _database(self, whole):
        db = self.lab.database()  # I11
        try:
            check = db.execute("PRAGMA integrity_check" if whole else "PRAGMA quick_check").fetchall()
            if check != [("ok",)]:
                raise Violation(f"the database is damaged: {check[:5]}")
            if db.execute("PRAGMA foreign_key_check").fetchall():
                raise Violation("broken references in the database")
            twice = db.execute("SELECT cid FROM cids GROUP BY host_id, cid HAVING count(*) > 1").fetchall()
            held = db.execute("SELECT vm_id FROM cids WHERE released_at = 0 AND vm_id NOT IN "
                              "(SELECT id FROM vms WHERE deleted_at = 0)").fetchall()
            if twice or held:
                raise Violation(f"CIDs given twice: {twice}; held by nobody: {held}")
            untold = db.execute("SELECT request_id FROM events UNION SELECT request_id FROM operations "
                                "EXCEPT SELECT request_id FROM audit").fetchall()
            if untold not in ([], [("",)]):  # I14
                raise Violation(f"requests did something, and the audit log does not name them: {untold}")
        finally:
            db.close()

    def secrets(self):
        """I12: the first token is nowhere but in its file."""
        token = (self.lab.state / "admin.token").read_bytes().strip()
        places = [self.lab.log_path, *self.lab.state.glob("drover.db*")]
        found = [str(p) for p in places if token in p.read_bytes()]
        for name in ("cmdline", "environ"):
            with open(f"/proc/{self.lab.process.pid}/{name}", "rb") as file:
                if token in file.read():
                    found.append(name)
        if found:
            raise Violation(f"the administrator's token is in {found}")

    def resources(self):
        """Descriptors, threads and kilobytes of the daemon that runs."""
        with open(f"/proc/{self.lab.process.pid}/status", encoding="ascii") as file:
            text = file.read()
        import os  # pylint: disable=import-outside-toplevel
        return {"fds": len(os.listdir(f"/proc/{self.lab.process.pid}/fd")),
                "threads": int(re.search(r"Threads:\s+(\d+)", text)[1]),
                "rss_kib": int(re.search(r"VmRSS:\s+(\d+)", text)[1])}


def _seconds(text):
    from datetime import datetime  # pylint: disable=import-outside-toplevel
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() if text else 0.0
