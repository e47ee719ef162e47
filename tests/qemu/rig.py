"""What the tests of this folder share: a daemon with real guests, consoles, and QEMU processes."""
import gzip
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "support"), str(TESTS / "contract"), str(TESTS / "guests")]
# Where this runs on a sanitizer build all the same: ASan takes the end of a thread whose signal stack
# libvirt's libraries replaced for an error.
os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":use_sigaltstack=0"

import guests  # noqa: E402
from daemon import BUILD, Daemon, eventually  # noqa: E402
from machine import QEMU, accelerations  # noqa: E402
from validate import Contract  # noqa: E402
from websocket import Refused, WebSocket  # noqa: E402,F401

CONTRACT = Contract()
HELLO = b"Hello from the boot sector. I echo.\r\n"
GREETINGS = {"hello": HELLO, "keys": b"Type.\r\n"}  # the last they say by themselves
PROMPT = rb"root@[a-z0-9-]+:~# "
SLOW = 150  # seconds: a guest's boot on a busy host; nothing waits that long when all is well
NAMES = itertools.count(1)


# ---- QEMU, as the kernel sees it ----

def processes(text):
    """Pids of the living QEMU processes whose command line has the text in it (a uuid, a path)."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            state = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if state != "Z" and text.encode() in command and b"qemu-system" in command.split(b"\0")[0]:
            found.append(int(entry.name))
    return found


def qemu_pid(vm_id):
    found = processes(vm_id)
    assert len(found) == 1, f"{len(found)} QEMU processes of {vm_id}: {found}"
    return found[0]


def kill_qemu(vm_id):
    """The guest's own process, and only that."""
    pid = qemu_pid(vm_id)
    os.kill(pid, signal.SIGKILL)
    return pid


def resident_bytes(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) * 1024


# ---- the daemon ----

class Rig(Daemon):
    """droverd with the embedded driver. Its guests end with it; its log may hold no other warnings
    than those that a test announced with expect_warning()."""

    def __init__(self, keep=None, libvirt="", **kw):
        """keep: where libvirt's knowledge of what QEMU can do is taken from, or left for the next."""
        super().__init__(libvirt=libvirt, check=CONTRACT.check, **kw)
        self.expected, self.keep, self.made = [], keep, []
        cache = self.state_dir / "libvirt/cache/qemu/capabilities"
        if self.keep and self.keep.is_dir():
            shutil.copytree(self.keep, cache)

    def expect_warning(self, pattern):
        self.expected.append(pattern)

    def unexpected(self):
        return [line for line in self.warnings() if not any(re.search(p, line) for p in self.expected)]

    @property
    def api(self):
        return self.client()

    def close(self):
        try:
            if self.process:
                for vm in self.api.get("/v1/vms", limit=1000).json["items"]:
                    self.api.delete(f"/v1/vms/{vm['id']}", force=True, wait=60, patience=90)
                cache = self.state_dir / "libvirt/cache/qemu/capabilities"
                if self.keep and not self.keep.exists() and cache.is_dir():
                    shutil.copytree(cache, self.keep)
            self.stop()
            left = processes(str(self.state_dir))
            assert not left, f"QEMU processes are left: {left}"
            assert not self.unexpected(), "\n".join(self.unexpected())
        finally:
            for pid in processes(str(self.state_dir)):
                os.kill(pid, signal.SIGKILL)
            super().close()

    # ---- images ----

    def ensure_image(self, name):
        """A boot sector by its name, as a raw disk, or the demo kernel; uploaded once."""
        if self.api.get(f"/v1/images/{name}").status == 200:
            return
        if name == "demo":
            self.upload_demo()
            return
        path = guests.write(self.state_dir / "guests", [name], mib=1)[name]
        assert self.api.post("/v1/images", {"name": name, "kind": "disk", "format": "raw"}).status == 201
        answer = self.api.put(f"/v1/images/{name}/content", path.read_bytes())
        assert answer.status == 200 and answer.json["state"] == "ready", answer

    def upload_demo(self, name="demo", programs=None):
        """programs: by path in the guest, in a second archive behind the image's own."""
        where = Path(os.environ["DROVER_DEMO_IMAGE"])
        cmdline = (where / "cmdline").read_text().strip()
        made = self.api.post("/v1/images", {"name": name, "kind": "kernel", "cmdline": cmdline})
        assert made.status == 201, made
        more = gzip.compress(archive(programs)) if programs else b""
        for part, data in (("kernel", (where / "vmlinuz").read_bytes()),
                           ("initrd", (where / "initrd.img").read_bytes() + more)):
            answer = self.api.put(f"/v1/images/{name}/content/{part}", data)
            assert answer.status == 200, answer
        assert answer.json["state"] == "ready", answer

    # ---- VMs ----

    def create(self, image="hello", wait=None, status=201, **definition):
        """Created and, unless told otherwise, started; memory and devices as small as they can be.

        Whoever waits for the console's first byte finds the boot sector's whole greeting."""
        if image:
            self.ensure_image(image)
        definition = {"name": f"{image or 'vm'}-{next(NAMES)}", "image": image, "memory_mib": 16,
                      "acceleration": "emulated", "networks": [], "start": True, **definition}
        answer = self.api.post("/v1/vms", definition, wait=wait, timeout=SLOW if wait else None, patience=SLOW + 30)
        assert answer.status == status, answer
        made = answer.json["id"]
        self.made.append(made)
        if wait in ("console", "ready") and image in GREETINGS:
            eventually(lambda: GREETINGS[image] in self.log_raw(made).body, SLOW, "its greeting")
        return answer.json

    def tidy(self, known):
        """Boot sectors wait for a key by looking for one all the time: none runs longer than it must."""
        for vm in [vm for vm in self.made if vm not in known]:
            self.made.remove(vm)
            self.api.delete(f"/v1/vms/{vm}", force=True, wait=60, patience=90)

    def vm(self, ref):
        answer = self.api.get(f"/v1/vms/{ref}")
        assert answer.status == 200, answer
        return answer.json

    def act(self, vm, verb, state="succeeded", seconds=90):
        """The finished operation."""
        answer = self.api.post(f"/v1/vms/{vm}/{verb}", wait=seconds, patience=seconds + 30)
        assert answer.status == 200, answer
        assert answer.json["state"] == state, answer
        return answer.json

    def delete(self, vm):
        answer = self.api.delete(f"/v1/vms/{vm}", force=True, wait=90, patience=120)
        assert answer.status == 200 and answer.json["state"] == "succeeded", answer

    def wait_state(self, vm, *states, seconds=60):
        def look():
            found = self.vm(vm)
            return found if found["state"] in states else None
        return eventually(look, seconds, f"{vm} {' or '.join(states)} (it is {self.vm(vm)['state']})")

    def console(self, vm, stream="console", **kw):
        return Console(self, vm, stream, **kw)

    def log_raw(self, vm, start=0):
        answer = self.api.get(f"/v1/vms/{vm}/console/log", format="raw", **{"from": start})
        assert answer.status == 200, answer
        return answer

    def events(self, vm_id, kind, since=0):
        page = self.api.get("/v1/events", since=since, limit=1000)
        assert page.status == 200, page
        return [e for e in page.json["items"] if e["subject"]["id"] == vm_id and e["type"] == kind]


class Console:
    """A viewer: everything it received, and how the stream ended."""

    def __init__(self, rig, vm, stream="console", token="admin", subprotocols=(), timeout=SLOW, **query):
        query = {k.rstrip("_"): v for k, v in query.items() if v is not None}
        path = f"/v1/vms/{vm}/{stream}" + ("?" + "&".join(f"{k}={v}" for k, v in query.items()) if query else "")
        self.socket = rig.websocket(path, token=token, subprotocols=subprotocols, timeout=timeout)
        self.received, self.seen, self.controls = b"", 0, []

    def receive(self):
        """One message more; False at the end of the stream."""
        message = self.socket.receive()
        if not message:
            return False
        if message[0] == 1:
            self.controls.append(json.loads(message[1]))
        else:
            self.received += message[1]
        return True

    def expect(self, pattern, seconds=SLOW):
        """What came up to and including the first match that was not expected before."""
        end = time.monotonic() + seconds
        while not (match := re.compile(pattern).search(self.received, self.seen)):
            assert time.monotonic() < end, f"{pattern!r} did not come: {self.received[-2000:]!r}"
            assert self.receive(), f"closed with {self.socket.close_code} after {self.received[-2000:]!r}"
        text = self.received[self.seen:match.end()]
        self.seen = match.end()
        return text

    def until_closed(self):
        """The close code."""
        while self.receive():
            pass
        return self.socket.close_code

    def control(self, kind):
        """The next control message of a type."""
        while True:
            for i, control in enumerate(self.controls):
                if control["type"] == kind:
                    return self.controls.pop(i)
            assert self.receive(), f"closed with {self.socket.close_code}"

    def send(self, data):
        self.socket.send(data)

    def run(self, command):
        """What a command typed into the demo guest's shell printed."""
        self.send(command.encode() + b"\n")
        self.expect(rb"\n")
        text = self.expect(PROMPT)
        return text[:text.rindex(b"root@")].decode().replace("\r", "").strip()

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def archive(programs):
    """Files for the kernel's first file system, which may be several archives one behind the other."""
    with tempfile.TemporaryDirectory(prefix="drover-cpio-") as where:
        for path, text in programs.items():
            file = Path(where, path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text)
            file.chmod(0o755 if text[:2] in (b"#!", b"\x7fE") else 0o644)
        return subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], input="".join(p + "\n" for p in programs).encode(),
                              cwd=where, check=True, capture_output=True).stdout


def build_demo(where):
    subprocess.run([TESTS.parent / "deploy/demo-image/build", where], check=True, stdout=subprocess.DEVNULL)
