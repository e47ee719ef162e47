"""The boot-sector guests do what they say, under emulation and, where the host can, under KVM."""

import shutil
import subprocess
import sys

import pytest

import guests
from machine import QEMU, Machine, accelerations

pytestmark = pytest.mark.skipif(not shutil.which(QEMU), reason=f"{QEMU} is missing")


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    return guests.write(tmp_path_factory.mktemp("guests"))


@pytest.fixture(scope="session")
def padded(tmp_path_factory):
    return guests.write(tmp_path_factory.mktemp("padded"), mib=1)


@pytest.fixture(params=["tcg", "kvm"])
def boot(request, images, padded):
    """One sector behind IDE on pc, padded behind virtio on q35, as Drover's overlays are."""
    if request.param not in accelerations():
        pytest.skip("/dev/kvm cannot be used here")

    def start(name, machine="q35"):
        path, bus = (images[name], "ide") if machine == "pc" else (padded[name], "virtio")
        return Machine(request.param, "-snapshot", "-drive", f"file={path},format=raw,if={bus}",
                       machine=machine, memory_mib=16)
    return start


def test_each_is_one_bootable_sector(images):
    assert set(images) == {"hello", "flood", "halt", "count", "keys", "idle"}
    for path in images.values():
        data = path.read_bytes()
        assert len(data) == 512 and data[510:] == b"\x55\xaa"


def test_the_program_writes_the_same(images, tmp_path):
    out = subprocess.run([sys.executable, guests.__file__, tmp_path, "halt"], check=True,
                         capture_output=True, text=True).stdout
    assert out.strip() == str(tmp_path / "halt.img")
    assert (tmp_path / "halt.img").read_bytes() == images["halt"].read_bytes()


def test_an_unknown_guest_is_refused(tmp_path):
    assert subprocess.run([sys.executable, guests.__file__, tmp_path, "nope"],
                          capture_output=True, check=False).returncode == 2


def test_padding_is_a_hole(padded):
    stat = padded["hello"].stat()
    assert stat.st_size == 1 << 20 and stat.st_blocks * 512 < 65536


@pytest.mark.parametrize("machine", ["q35", "pc"])
def test_hello_prints_and_echoes(boot, machine):
    with boot("hello", machine) as m:
        m.expect(rb"Hello from the boot sector\. I echo\.\r\n")
        m.send(b"abc")
        m.expect(rb"abc")
        data = bytes(range(256)) * 8
        m.send(data)
        got = b""
        while len(got) < len(data):
            got += m.expect(rb"(?s).+")
        assert got == data


@pytest.mark.parametrize("machine", ["q35", "pc"])
def test_halt_switches_the_machine_off(boot, machine):
    with boot("halt", machine) as m:
        m.expect(rb"Going down\.\r\n")
        assert m.wait() == 0


def test_idle_says_so_and_stays(boot):
    with boot("idle") as m:
        m.expect(rb"Nothing to do\.\r\n")
        assert m.process.poll() is None


def test_flood_does_not_stop(boot):
    with boot("flood") as m:
        total = 0
        while total < 100_000:
            total += len(m.expect(rb"(?s).+"))
        assert m.process.poll() is None
        assert m.output.count(b"xyzABC") > 1000


def test_count_leaves_nothing_out(boot):
    with boot("count") as m:
        m.expect(rb"0000000000\r\n")
        expected = 1
        while expected < 1200:  # past two carries
            assert int(m.expect(rb"[0-9]{10}\r\n").split()[-1]) == expected
            expected += 1
