#!/usr/bin/python3
"""The reference host: a virtual machine under emulation whose processor offers AMD's virtualisation.
In it /dev/kvm, /dev/vhost-vsock, KSM, systemd and libvirtd are real. No /dev/kvm is needed here.

    host.py IMAGE_DIR [FOLDER]    boot it, tell how to get in, stay until Ctrl-C

Every boot() begins with the disk as build-host made it; reboot() keeps it. IMAGE_DIR is what build-host wrote.
"""
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BOOT_SECONDS = 600
COMMAND_SECONDS = 300
# What QEMU 7.2's emulation gets right. With nested paging (npt) and two processors the host's kernel
# panics within minutes; guests that see XSAVE (and with it AVX) are shown an inconsistent state of it.
CPU = "EPYC,+svm,-npt,-xsave,-avx,-avx2,-fma,-f16c"
KERNEL = ("root=/dev/vda rw console=ttyS0 quiet mitigations=off tsc=reliable no_timer_check apparmor=1 security=apparmor "
          "systemd.show_status=false")


class HostFailed(Exception):
    """A command in the host ended badly; says which, and what it said."""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Host:
    """host.run("uname -r"); folder holds its disk, its logs and ssh.conf.

    Commands go through one shared ssh connection: a handshake takes seconds in there.
    """

    def __init__(self, image, folder=None, memory_mib=4096):
        self.image, self.memory_mib = Path(image).resolve(), memory_mib
        self.own_folder = folder is None
        self.folder = Path(folder or tempfile.mkdtemp(prefix="drover-host-")).resolve()
        self.config = self.folder / "ssh.conf"
        self.process, self.ports = None, {}

    # ---- life ----

    def boot(self):
        self.folder.mkdir(exist_ok=True)
        port = free_port()
        disk = self.folder / "disk.qcow2"
        disk.unlink(missing_ok=True)
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", self.image / "root.raw", disk],
                       check=True)
        self._write_config(port)
        command = ["qemu-system-x86_64", "-name", "reference-host", "-nodefaults", "-no-user-config",
                   "-display", "none", "-machine", "q35", "-accel", "tcg,thread=multi,tb-size=1024", "-cpu", CPU,
                   "-smp", "2", "-m", str(self.memory_mib),
                   "-kernel", self.image / "vmlinuz", "-initrd", self.image / "initrd", "-append", KERNEL,
                   "-drive", f"file={disk},if=none,id=root,format=qcow2,cache=unsafe,discard=unmap",
                   "-device", "virtio-blk-pci,drive=root",
                   "-netdev", f"user,id=net0,hostfwd=tcp:127.0.0.1:{port}-:22", "-device", "virtio-net-pci,netdev=net0",
                   "-device", "virtio-rng-pci", "-serial", f"file:{self.folder / 'serial.log'}",
                   "-monitor", f"unix:{self.folder / 'monitor'},server=on,wait=off"]
        with open(self.folder / "qemu.log", "wb") as log:
            # A group of its own: Ctrl-C is for the tests, which then end it in good order.
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            start_new_session=True)
        self._wait_for_ssh()
        return self

    def _write_config(self, port):
        self.config.write_text(f"""Host reference-host
  HostName 127.0.0.1
  Port {port}
  User root
  IdentityFile {self.image / 'id_ed25519'}
  IdentitiesOnly yes
  StrictHostKeyChecking no
  UserKnownHostsFile /dev/null
  LogLevel ERROR
  ConnectTimeout 60
  ServerAliveInterval 15
  ServerAliveCountMax 20
  ControlMaster auto
  ControlPath {self.folder}/ssh-%C
  ControlPersist yes
""")

    def _wait_for_ssh(self):
        end = time.monotonic() + BOOT_SECONDS
        while True:
            if self.process.poll() is not None:
                raise HostFailed(f"QEMU ended: {(self.folder / 'qemu.log').read_text()}")
            try:
                if subprocess.run(self.ssh("true"), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL, timeout=90, check=False).returncode == 0:
                    return
            except subprocess.TimeoutExpired:
                pass
            if time.monotonic() > end:
                raise HostFailed(f"no ssh after {BOOT_SECONDS} s:\n{self.serial()[-2000:]}")
            time.sleep(0.5)

    def boot_id(self):
        """A connection of its own: while the host goes down, a shared one would hang."""
        try:
            done = subprocess.run(["ssh", "-F", self.config, "-o", "ControlPath=none", "-o", "ServerAliveInterval=5",
                                   "-o", "ServerAliveCountMax=6", "reference-host",
                                   "cat /proc/sys/kernel/random/boot_id"], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=90, check=False)
        except subprocess.TimeoutExpired:
            return ""
        return done.stdout.decode().strip() if done.returncode == 0 else ""

    def reboot(self, seconds=2 * BOOT_SECONDS):
        """Its own systemd takes it down, and it boots from the same disk. How long that took, in seconds."""
        before, started = self.boot_id(), time.monotonic()
        assert before
        self.run("systemctl --no-block reboot", check=False)
        self._leave()
        while self.boot_id() in ("", before):
            if time.monotonic() > started + seconds:
                raise HostFailed(f"not booted again after {seconds} s:\n{self.serial()[-2000:]}")
            time.sleep(0.5)
        took = time.monotonic() - started
        self.run("true")  # which opens the shared connection again
        return took

    def _leave(self):
        """Ends the shared connection, and with it what it forwards."""
        subprocess.run(["ssh", "-F", self.config, "-O", "exit", "reference-host"], stderr=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, check=False)
        self.ports = {}

    def serial(self):
        log = self.folder / "serial.log"
        return log.read_text(errors="replace") if log.exists() else ""

    def crashed(self):
        """Lines of its kernel that say so."""
        return [line for line in self.serial().splitlines() if "Kernel panic" in line or "Oops" in line]

    def stop(self):
        """Ends its QEMU; its disk is not needed again."""
        self._leave()
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None
        if self.own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    # ---- use ----

    def ssh(self, command):
        """The argument vector that runs a shell command in there."""
        return ["ssh", "-F", str(self.config), "reference-host", command]

    def run(self, command, check=True, seconds=COMMAND_SECONDS, data=None):
        """What a shell command printed (both streams); check=False: (status, text)."""
        done = subprocess.run(self.ssh(command), input=data if data is not None else b"", stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=seconds, check=False)
        text = done.stdout.decode(errors="replace").strip()
        if not check:
            return done.returncode, text
        if done.returncode:
            raise HostFailed(f"{command!r} ended with {done.returncode}:\n{text}")
        return text

    def succeeds(self, command):
        return self.run(command, check=False)[0] == 0

    def popen(self, command, **kw):
        return subprocess.Popen(self.ssh(command), **kw)

    def write(self, path, data):
        self.run(f"cat >{shlex.quote(path)}", data=data.encode() if isinstance(data, str) else data)

    def copy(self, sources, where):
        """Files and folders, into a folder there."""
        pack = ["tar", "-cf", "-"]
        for source in map(Path, sources):
            pack += ["-C", source.parent, source.name]
        packed = subprocess.run(pack, check=True, stdout=subprocess.PIPE).stdout
        self.run(f"mkdir -p {shlex.quote(where)} && tar -C {shlex.quote(where)} --no-same-owner -xf -", data=packed)

    def forward(self, there):
        """The local port that leads to an address (ADDRESS:PORT or a socket's path) in there."""
        if there not in self.ports:
            port = free_port()
            subprocess.run(["ssh", "-F", self.config, "-O", "forward", "-L", f"127.0.0.1:{port}:{there}",
                            "reference-host"], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            self.ports[there] = port
        return self.ports[there]


class RunningHost(Host):
    """One that host.py has booted already: for trying tests out again and again."""

    def __init__(self, folder):
        key = next(line.split()[1] for line in Path(folder, "ssh.conf").read_text().splitlines()
                   if "IdentityFile" in line)
        super().__init__(Path(key).parent, folder)

    def boot(self):
        return self

    def stop(self):
        pass


def main(image, folder=None):
    host = Host(image, folder)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    started = time.monotonic()
    try:
        host.boot()
        print(f"booted in {time.monotonic() - started:.0f} s:  ssh -F {host.config} reference-host\n"
              f"tests use it with DROVER_SYSTEM_HOST={host.folder}; Ctrl-C ends it", flush=True)
        host.process.wait()
    except KeyboardInterrupt:
        pass
    finally:
        host.stop()


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(*sys.argv[1:])
