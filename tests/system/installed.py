"""droverd installed in the reference host from its Debian package, and driven from here."""
import json
import os
import re
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
sys.path[:0] = [str(TESTS / "qemu"), str(TESTS / "support")]

from api_client import Client  # noqa: E402
from daemon import BUILD, eventually  # noqa: E402
from rig import CONTRACT, Rig  # noqa: E402

SLOW = 300  # seconds: a guest's boot in a host that is emulated; nothing waits that long when all is well
START_SECONDS = 120


def built():
    """The package that deploy/package made."""
    (package,) = Path(os.environ["DROVER_PACKAGE"]).glob("drover_*.deb")
    return package


def another_version(version, folder):
    """The same package under another version: what dpkg sees of an upgrade, without a second build."""
    tree, made = folder / version, folder / f"drover_{version}_amd64.deb"
    subprocess.run(["dpkg-deb", "-R", built(), tree], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(re.sub(r"(?m)^Version: .*$", f"Version: {version}", control.read_text()))
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, made], check=True, stdout=subprocess.DEVNULL)
    return made


def install(host, package=None):
    """Puts a package there, by default the one that was built, and installs it. There is no archive to fetch more
    from. What dpkg said."""
    package = package or built()
    host.copy([package], "/root/drover")
    host.copy([ROOT / "deploy"], "/root/drover")
    return host.run(f"DEBIAN_FRONTEND=noninteractive dpkg -i /root/drover/{package.name}")


class Installed(Rig):
    """A droverd that systemd runs in the host. What Rig does through the API, it does there."""

    def __init__(self, host, unit="droverd", address="127.0.0.1:8460", state_dir="/var/lib/drover"):
        # Not Rig's own: it would make a directory and a process on this machine.
        self.host, self.unit, self.there, self.state = host, unit, address, state_dir
        self.check, self.made, self.process = CONTRACT.check, [], None
        self.token, self.context = None, None

    @property
    def address(self):
        return f"127.0.0.1:{self.host.forward(self.there)}"

    def admin_token(self):
        if not self.token:
            self.token = self.host.run(f"cat {self.state}/admin.token")
        return self.token

    def wait_ready(self, seconds=START_SECONDS):
        def ready():
            try:
                return self.client(token=None).get("/readyz").status == 200
            except OSError:
                return False
        eventually(ready, seconds, f"{self.unit} ready", every=0.5)

    # ---- as systemd sees it ----

    def systemctl(self, verb):
        return self.host.run(f"systemctl {verb} {self.unit}")

    def property(self, name):
        return self.host.run(f"systemctl show -P {name} {self.unit}")

    def pid(self):
        return int(self.property("MainPID"))

    def journal(self, *arguments):
        """Its entries, each a dictionary, oldest first."""
        text = self.host.run(f"journalctl -q --no-pager -o json -u {self.unit} {' '.join(arguments)}")
        return [json.loads(line) for line in text.splitlines()]

    def log(self):
        return self.host.run(f"journalctl -q --no-pager -o cat -n 60 -u {self.unit}", check=False)[1]

    # ---- VMs ----

    def create(self, image="demo", wait=None, status=201, **definition):
        definition = {"acceleration": "kvm", "memory_mib": 128, **definition}
        return super().create(image, wait, status, **definition)

    def ksm(self, vm_id):
        """What is known of a VM's merged memory; empty before the first sample."""
        return self.api.get(f"/v1/vms/{vm_id}/stats").json.get("ksm", {})

    def qemu_pid(self, vm_id):
        found = self.host.run(f"pgrep -f '^[^ ]*qemu-system.*{vm_id}'", check=False)[1].split()
        assert len(found) == 1, f"QEMU processes of {vm_id}: {found}"
        return int(found[0])

    def drover(self, arguments, **kw):
        """What the command line says to root in the host."""
        return self.host.run(f"drover --socket {self.state}/drover.sock {arguments}", **kw)

    def socket_of_the_host(self):
        return Client(f"http://127.0.0.1:{self.host.forward(self.state + '/drover.sock')}", None, self.check)
