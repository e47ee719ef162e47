"""A QEMU of one's own: serial console on a socket, QMP, virtio-serial ports. No libvirt."""

import json
import os
import pathlib
import re
import select
import shutil
import socket
import subprocess
import tempfile
import time

QEMU = "qemu-system-x86_64"


def accelerations():
    """What this host can do: TCG always, KVM where /dev/kvm can be opened."""
    found = ["tcg"]
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC))
        found.append("kvm")
    except OSError:
        pass
    return found


class Machine:
    """with Machine("tcg", "-drive", …, ports=["org.example.0"]) as m: m.expect(b"# ")"""

    def __init__(self, accel, *args, machine="q35", memory_mib=128, ports=()):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="drover-guest-"))
        self.output = b""
        self.seen = 0
        command = [
            QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-machine", machine,
            "-accel", accel, "-m", str(memory_mib),
            "-chardev", f"socket,id=console,path={self.dir}/console,server=on,wait=off",
            "-device", "isa-serial,chardev=console",
            "-qmp", f"unix:{self.dir}/qmp,server=on,wait=off", "-S",
        ]
        if ports:
            command += ["-device", "virtio-serial-pci"]
        for i, name in enumerate(ports):
            command += [
                "-chardev", f"socket,id=port{i},path={self.dir}/port{i},server=on,wait=off",
                "-device", f"virtserialport,chardev=port{i},name={name}",
            ]
        self.process = subprocess.Popen(command + list(args), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            self.console = self.connect("console")
            self.ports = [self.connect(f"port{i}") for i in range(len(ports))]
            self.qmp_socket = self.connect("qmp")
            self.qmp_file = self.qmp_socket.makefile("rwb")
            json.loads(self.qmp_file.readline())
            self.qmp("qmp_capabilities")
            self.started = time.monotonic()
            self.qmp("cont")
        except BaseException:
            self.close()
            raise

    def connect(self, name):
        deadline = time.monotonic() + 30
        while True:
            s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                s.connect(str(self.dir / name))
                return s
            except OSError:
                s.close()
                if self.process.poll() is not None:
                    raise RuntimeError(self.process.stderr.read().decode()) from None
                if time.monotonic() > deadline:
                    raise
                select.select([], [], [], 0.005)

    def qmp(self, command):
        self.qmp_file.write(json.dumps({"execute": command}).encode() + b"\n")
        self.qmp_file.flush()
        while True:
            answer = json.loads(self.qmp_file.readline())
            if "return" in answer or "error" in answer:
                return answer

    def send(self, data):
        self.console.sendall(data)

    def expect(self, pattern, timeout=60):
        """Everything up to and including the first match (a regular expression) not yet seen."""
        deadline = time.monotonic() + timeout
        while True:
            match = re.compile(pattern).search(self.output, self.seen)
            if match:
                text = self.output[self.seen:match.end()]
                self.seen = match.end()
                return text
            left = deadline - time.monotonic()
            data = b""
            if left > 0 and select.select([self.console], [], [], left)[0]:
                data = self.console.recv(65536)
            if not data:
                raise AssertionError(f"{pattern!r} did not come: {self.output[-2000:]!r}")
            self.output += data

    def wait(self, timeout=30):
        """QEMU's exit status once the guest has switched itself off."""
        return self.process.wait(timeout)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stderr.close()
        for name in ("console", "qmp_socket"):
            if hasattr(self, name):
                getattr(self, name).close()
        for port in getattr(self, "ports", ()):
            port.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
