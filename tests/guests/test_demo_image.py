"""The demo image boots under emulation to a shell, and behaves as a guest should."""

import json
import os
import pathlib
import shutil
import subprocess
import time

import pytest

from machine import QEMU, Machine

BUILD = pathlib.Path(__file__).resolve().parents[2] / "deploy/demo-image/build"
PROMPT = rb"root@[a-z0-9-]+:~# "

pytestmark = [
    pytest.mark.skipif(not shutil.which(QEMU), reason=f"{QEMU} is missing"),
    pytest.mark.skipif(not shutil.which("apt-get"), reason="the demo image is made of Debian packages"),
    pytest.mark.skipif(os.geteuid() != 0, reason="apt-get download wants root"),
]


@pytest.fixture(scope="session")
def image(tmp_path_factory):
    """Made anew, unless DROVER_DEMO_IMAGE names a directory that has one or may keep one."""
    where = os.environ.get("DROVER_DEMO_IMAGE") or str(tmp_path_factory.mktemp("demo"))
    subprocess.run([BUILD, where], check=True)
    return pathlib.Path(where)


def boot(image, *args, cmdline="", **kwargs):
    line = (image / "cmdline").read_text().strip() + " " + cmdline
    return Machine("tcg", "-kernel", str(image / "vmlinuz"), "-initrd", str(image / "initrd.img"),
                   "-append", line, *args, **kwargs)


def run(machine, command):
    """Output of a command typed into the shell."""
    machine.send(command.encode() + b"\n")
    machine.expect(rb"\n")
    text = machine.expect(PROMPT)
    return text[: text.rindex(b"root@")].decode().replace("\r", "").strip()


def test_building_again_does_nothing(image):
    before = {f.name: f.stat().st_mtime_ns for f in image.iterdir() if f.name != ".lock"}
    out = subprocess.run([BUILD, image], check=True, capture_output=True, text=True).stdout
    assert "is up to date" in out
    assert before == {f.name: f.stat().st_mtime_ns for f in image.iterdir() if f.name != ".lock"}


def test_equal_inputs_give_equal_bytes(image, tmp_path):
    subprocess.run([BUILD, tmp_path], check=True)
    for name in ("vmlinuz", "initrd.img", "cmdline"):
        assert (tmp_path / name).read_bytes() == (image / name).read_bytes(), name
    assert not [f for f in tmp_path.iterdir() if f.name.startswith(".work")]


def test_shell_name_job_control_and_power_button(image):
    with boot(image, cmdline="drover.demo=hello") as m:
        banner = m.expect(PROMPT)
        print(f"prompt after {time.monotonic() - m.started:.2f} s")
        assert b"Welcome to hello" in banner
        assert b"can't access tty" not in banner
        assert run(m, "echo $((6 * 7))") == "42"
        m.send(b"echo now; sleep 100\n")
        m.expect(rb"now\r\n")  # the shell has left its line editor, so the next key is a signal
        m.send(b"\x03")
        m.expect(PROMPT)
        m.send(b"exit\n")
        m.expect(rb"Welcome to hello")
        m.expect(PROMPT)
        asked = time.monotonic()
        m.qmp("system_powerdown")
        assert m.wait() == 0
        print(f"off {time.monotonic() - asked:.2f} s after the power button")


def test_poweroff_in_the_shell(image):
    with boot(image, memory_mib=96) as m:
        m.expect(PROMPT)
        m.send(b"poweroff\n")
        assert m.wait() == 0


def test_reboot_in_the_shell(image):
    with boot(image) as m:
        m.expect(PROMPT)
        m.send(b"reboot\n")
        m.expect(rb"Welcome to demo")
        m.expect(PROMPT)
        assert int(float(run(m, "cut -d' ' -f1 /proc/uptime"))) < 60


def test_virtio_ports_echo_but_the_agents_is_the_agents(image):
    with boot(image, ports=["org.example.0", "org.qemu.guest_agent.0", "org.example.1"]) as m:
        m.expect(PROMPT)
        assert run(m, "ls /dev/virtio-ports") == "org.example.0   org.example.1   org.qemu.guest_agent.0" or \
            run(m, "ls -1 /dev/virtio-ports").split() == [
                "org.example.0", "org.example.1", "org.qemu.guest_agent.0"]
        for port in (m.ports[0], m.ports[2]):
            port.settimeout(20)
            payload = os.urandom(20000)
            got = b""
            port.sendall(payload)
            while len(got) < len(payload):
                got += port.recv(65536)
            assert got == payload
        m.ports[1].settimeout(20)
        m.ports[1].sendall(b'{"execute": "guest-ping"}\n')
        answer = b""
        while not answer.endswith(b"\n"):
            answer += m.ports[1].recv(4096)
        assert json.loads(answer) == {"return": {}}


def test_a_port_echoes_again_after_its_host_end_was_closed(image):
    with boot(image, ports=["org.example.0"]) as m:
        m.expect(PROMPT)
        for text in (b"one", b"two", b"three"):
            port = m.ports[0]
            port.settimeout(20)
            port.sendall(text)
            got = b""
            while len(got) < len(text):
                got += port.recv(100)
            assert got == text
            port.close()
            m.ports[0] = m.connect("port0")


def test_network_disk_balloon_and_entropy(image, tmp_path):
    disk = tmp_path / "disk"
    disk.write_bytes(b"a disk" + bytes(1 << 20))
    with boot(image, "-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n",
              "-drive", f"file={disk},format=raw,if=none,id=d", "-device", "virtio-blk-pci,drive=d",
              "-device", "virtio-balloon-pci", "-device", "virtio-rng-pci") as m:
        m.expect(PROMPT)
        assert run(m, "head -c 6 /dev/vda; echo") == "a disk"
        assert "virtio_balloon" in run(m, "lsmod")
        assert "virtio_rng" in run(m, "cat /sys/class/misc/hw_random/rng_current")
        deadline = time.monotonic() + 60
        while "10.0.2.15" not in run(m, "ip -4 addr show dev eth0"):
            assert time.monotonic() < deadline, "no address by DHCP"
        assert "default via 10.0.2.2" in run(m, "ip route")


def test_it_is_idle_when_idle(image):
    """Nothing in the guest spins: QEMU's own processor time says so."""
    with boot(image, ports=["org.example.0"]) as m:
        m.expect(PROMPT)
        m.ports[0].close()

        def ticks():
            fields = pathlib.Path(f"/proc/{m.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
            return int(fields[11]) + int(fields[12])

        deadline = time.monotonic() + 60
        while True:
            before, since = ticks(), time.monotonic()
            run(m, "sleep 2") # the guest's idleness is what is measured
            busy = (ticks() - before) / os.sysconf("SC_CLK_TCK") / (time.monotonic() - since)
            print(f"{busy:.1%} of a processor")
            if busy < 0.25:
                break
            assert time.monotonic() < deadline, f"{busy:.0%} of a processor while idle"
