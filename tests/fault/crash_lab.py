"""One daemon that is killed over and over: a private libvirtd, a state directory in memory, quick starts.

Made for the cost of a kill: everything is asked over connections that stay open (libvirt's own
bindings instead of virsh, the daemon's Unix socket), and waits look every millisecond.
"""
import hashlib
import http.client
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

import libvirt
from api_client import UnixConnection
from crash_points import Control
from daemon import BUILD
from libvirtd import Libvirtd

CRASH_BUILD = Path(os.environ.get("DROVER_CRASH_BUILD") or BUILD)
OFFLINE = (OSError, http.client.HTTPException)
# At the lowest priority beside a full machine nobody runs for seconds: what hangs is noticed later then.
PATIENCE = float(os.environ.get("DROVER_PATIENCE") or 1)
START_SECONDS = 30 * PATIENCE
MEMORY = "/dev/shm"
MIB = 1 << 20

libvirt.registerErrorHandler(lambda *_: None, None)


class Violation(AssertionError):
    """Something that must be true after any crash is not."""


class Link:
    """A connection to the daemon's socket that is used again and again, by one thread."""

    def __init__(self, path):
        self.path, self.connection = str(path), None

    def ask(self, method, path, body=None, headers=None, timeout=20 * PATIENCE):
        """(status, value). Anything in OFFLINE: whether it happened is not known."""
        headers = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/merge-patch+json" if method == "PATCH" else "application/json")
        used = self.connection is not None
        if not used:
            self.connection = UnixConnection(self.path, timeout)
        try:
            try:
                self.connection.request(method, path, body=body, headers=headers)
            except BrokenPipeError:
                pass  # refused before all of it was sent; the answer may be there
            answer = self.connection.getresponse()
            data = answer.read()
        except OFFLINE:
            self.close()
            if used:  # closed while it was idle, as any server may; what is sent again has its key
                return self.ask(method, path, body, headers, timeout)
            raise
        if answer.will_close:
            self.close()
        return answer.status, json.loads(data) if data else None

    def close(self):
        if self.connection:
            self.connection.close()
            self.connection = None


class Lab:
    build = CRASH_BUILD

    def __init__(self, bug=None, power_cut=False, keep=False):
        self.keep = keep or bool(os.environ.get("DROVER_KEEP"))
        self.libvirtd = Libvirtd().start()
        self.conn = libvirt.open(self.libvirtd.own_uri)
        self.dir = Path(tempfile.mkdtemp(prefix="drover-lab-", dir=MEMORY if os.path.isdir(MEMORY) else None))
        self.state = self.dir / "state"
        self.control = Control(self.dir / "control")
        self.log_path = self.dir / "droverd.log"
        self.environment = {**os.environ, "DROVER_CRASH_CONTROL": str(self.control.path)}
        if bug:
            self.environment["DROVER_BUG"] = bug
        if power_cut:
            self.environment["DROVER_POWER_CUT"] = "1"
        self.process, self.link, self.starts, self.canaries = None, None, [], None

    # ---- life and death ----

    def start(self):
        """True once it is ready; False when it died on its way there."""
        (self.state / "listen.addr").unlink(missing_ok=True)
        begin = time.monotonic()
        command = [self.build / "droverd", "--state-dir", self.state, "--listen", "127.0.0.1:0",
                   "--libvirt", self.libvirtd.uri, "--free-space-floor-mib=1", "--log-level=warning"]
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=self.environment)
        self.link = Link(self.state / "drover.sock")
        while True:
            if self.process.poll() is not None:
                return self._died()
            if self.is_listening():
                try:
                    status, told = self.link.ask("GET", "/readyz")
                    if status == 200:
                        self.starts.append(time.monotonic() - begin)
                        return True
                    if self.is_hopeless(told):
                        return self.refused()
                except OFFLINE:
                    pass
            if time.monotonic() - begin > START_SECONDS:
                raise Violation(f"not ready within {START_SECONDS:.0f} s; {self.log()}")
            time.sleep(0.001)

    def is_hopeless(self, _told):
        """It says that it will not become ready."""
        return False

    def is_listening(self):
        return (self.state / "listen.addr").exists()

    def _died(self):
        status = self.process.wait()
        self.link.close()
        if status != -signal.SIGKILL:
            raise Violation(f"the daemon ended by itself with {status}; {self.log()}")
        return False

    def alive(self):
        return self.process.poll() is None

    def buried(self):
        """After its death, by whatever; an end of its own is a violation."""
        return self._died()

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.link.close()

    def log(self):
        return "log: " + self.log_path.read_text(errors="replace")[-2500:]

    def reopen(self):
        """After libvirtd was started anew."""
        self.conn = libvirt.open(self.libvirtd.own_uri)

    def close(self):
        if self.process and self.process.poll() is None:
            self.kill()
        self.conn.close()
        self.libvirtd.close()
        if self.keep:
            print(f"kept: {self.dir}")
        else:
            shutil.rmtree(self.dir, ignore_errors=True)

    # ---- what there is, as seen from outside ----

    def get(self, path):
        status, value = self.link.ask("GET", path)
        if status != 200:
            raise Violation(f"GET {path} answers {status}: {value}")
        return value

    def items(self, path):
        """All of them, page by page."""
        value = self.get(path)
        found = value["items"]
        while value.get("next_cursor"):
            value = self.get(f"{path}{'&' if '?' in path else '?'}cursor={value['next_cursor']}")
            found += value["items"]
        return found

    def page(self, path):
        return self.get(path)["items"]

    def database(self):
        return sqlite3.connect(f"file:{self.state}/drover.db?mode=ro", uri=True, timeout=5 * PATIENCE)

    def install_id(self):
        db = self.database()
        try:
            return db.execute("SELECT value FROM meta WHERE key = 'install_id'").fetchone()[0]
        finally:
            db.close()

    def domains(self):
        """{uuid: (XML as it is defined, runs)}"""
        found, active = {}, {d.UUID() for d in self.conn.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)}
        for domain in self.conn.listAllDomains():
            try:
                found[domain.UUIDString()] = (domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE), domain.UUID() in active)
            except libvirt.libvirtError:
                pass  # gone between the two calls
        return found

    # ---- what is not ours ----

    def plant_canaries(self, model):
        """Domains and files of others, some of which look much like ours; model: a VM of ours."""
        xml = self.conn.lookupByUUIDString(model).XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
        install = self.install_id()
        if install not in xml:
            raise Violation("our own domain does not carry our mark")
        for name, replaced in (("lookalike-1", ((install, str(uuid.uuid4())), (model, str(uuid.uuid4())))),
                               ("lookalike-2", ((f"<uuid>{model}", f"<uuid>{uuid.uuid4()}"),))):
            text = re.sub("<name>[^<]*</name>", f"<name>{name}</name>", re.sub("<mac address=[^/]*/>", "", xml))
            for old, new in replaced:
                text = text.replace(old, new)
            self.conn.defineXML(text)
        self.conn.defineXML(f"<domain type='test'><name>foreign</name><uuid>{uuid.uuid4()}</uuid>"
                            "<memory unit='MiB'>16</memory><os><type>hvm</type></os></domain>")
        for place in ("images/somebody.else", "vms/note.txt", "images/tmp/.hidden", "foreign.bin"):
            path = self.state / place
            path.write_bytes(os.urandom(1000))
            path.chmod(0o640)
        mine = {vm["id"] for vm in self.items("/v1/vms?limit=1000")}
        self.canaries = self._canaries({u: xml for u, (xml, _) in self.domains().items() if u not in mine})

    def _canaries(self, domains):
        files = {}
        for place in ("images/somebody.else", "vms/note.txt", "images/tmp/.hidden", "foreign.bin"):
            path = self.state / place
            stat = path.stat() if path.exists() else None
            files[place] = stat and (hashlib.sha256(path.read_bytes()).hexdigest(), stat.st_mode, stat.st_mtime_ns)
        return domains, files

    def canaries_live(self, domains):
        now = self._canaries({u: domains[u][0] for u in self.canaries[0] if u in domains})
        if now != self.canaries:
            raise Violation(f"somebody else's domains or files were touched: {now} was {self.canaries}")
