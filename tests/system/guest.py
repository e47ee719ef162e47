"""The demo image with more in it: an ssh server on vsock port 22, an echo on 5000 that knows half-closed
connections, and socat. A guest's kernel unpacks one initramfs after the other."""
import gzip
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ECHO_PORT, SSH_PORT = 5000, 22

START_SSH = f"""#!/bin/sh
exec </dev/null >/dev/null 2>&1
mkdir -p /etc/dropbear
[ -s /etc/dropbear/key ] || dropbearkey -t ed25519 -f /etc/dropbear/key
exec socat VSOCK-LISTEN:{SSH_PORT},reuseaddr,fork EXEC:'dropbear -i -s -r /etc/dropbear/key'
"""
START_ECHO = f"""#!/bin/sh
exec </dev/null >/dev/null 2>&1
exec socat -t 600 VSOCK-LISTEN:{ECHO_PORT},reuseaddr,fork EXEC:cat
"""


def archive(folder):
    names = "\n".join(str(path.relative_to(folder)) for path in sorted(folder.rglob("*")))
    made = subprocess.run(["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"], cwd=folder, input=names.encode(),
                          stdout=subprocess.PIPE, check=True)
    return gzip.compress(made.stdout)


def initrd(image, folder):
    """The bytes of it; image is where build-host left its part, folder may be written to."""
    def put(name, text, mode):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
    put("bin/start-ssh", START_SSH, 0o755)
    put("bin/start-echo", START_ECHO, 0o755)
    put("etc/inittab", (ROOT / "deploy/demo-image/inittab").read_text() +
        "::respawn:/bin/start-ssh\n::respawn:/bin/start-echo\n", 0o644)
    put("root/.ssh/authorized_keys", (image / "id_ed25519.pub").read_text(), 0o600)
    for directory in ("root", "root/.ssh"):
        (folder / directory).chmod(0o700)
    return (Path(os.environ["DROVER_DEMO_IMAGE"]) / "initrd.img").read_bytes() + \
        (image / "ssh.cpio.gz").read_bytes() + archive(folder)
