"""drover vsock, screenshot, display and vm timeline against a real daemon."""
import os
import socket
import subprocess
import threading

import pytest
from daemon import BUILD, Daemon
from guest_sockets import GuestSockets, available

DROVER = BUILD / "drover"


@pytest.fixture(scope="module")
def guests():
    if not available(BUILD / "droverd"):
        pytest.skip("only sanitizer builds have the stand-in for vsock")
    with GuestSockets() as made:
        yield made


@pytest.fixture(scope="module")
def daemon(guests, contract):
    with Daemon(check=contract.check, env=guests.env) as d:
        yield d


def command(daemon, *args):
    return [DROVER, "--socket", daemon.socket_path, *args]


def run(daemon, *args, **kw):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("DROVER_")}
    return subprocess.run(command(daemon, *args), capture_output=True, timeout=60, env=clean, check=False, **kw)


def test_a_megabyte_each_way_through_vsock(daemon, guests, make_vm):
    vm = make_vm(start=True)
    listener = guests.listen(vm["vsock_cid"], 5000)
    there, back, heard = os.urandom(1_000_000), os.urandom(1_000_000), b""

    def guest():
        nonlocal heard
        connection, _ = listener.accept()
        with connection:
            sender = threading.Thread(target=connection.sendall, args=(back,))
            sender.start()
            while chunk := connection.recv(65536):
                heard += chunk
            sender.join()
    thread = threading.Thread(target=guest)
    thread.start()
    done = run(daemon, "vsock", vm["name"], "5000", input=there)
    thread.join(60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == back and heard == there
    listener.close()


def test_vsock_to_nobody(daemon, guests, make_vm):
    vm = make_vm(start=True)
    done = run(daemon, "vsock", vm["name"], "5000", input=b"")
    assert done.returncode != 0 and b"nothing listens" in done.stderr
    done = run(daemon, "vsock", vm["name"], "0", input=b"")
    assert done.returncode != 0 and b"vsock port" in done.stderr


def test_a_screenshot(daemon, make_vm, tmp_path):
    vm = make_vm(start=True, display=True)
    done = run(daemon, "screenshot", vm["name"], cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.decode().strip() == f"{vm['name']}.png"
    assert (tmp_path / f"{vm['name']}.png").read_bytes().startswith(b"\x89PNG")
    assert run(daemon, "screenshot", vm["name"], "-").stdout.startswith(b"\x89PNG")
    other = make_vm(start=True)
    done = run(daemon, "screenshot", other["name"], "no.png", cwd=tmp_path)
    assert done.returncode == 4 and not (tmp_path / "no.png").exists()


def test_a_timeline(daemon, make_vm):
    vm = make_vm(start=True)
    done = run(daemon, "vm", "timeline", vm["name"])
    assert done.returncode == 0 and b"started_at" in done.stdout


def test_display_needs_one(daemon, make_vm):
    done = run(daemon, "display", make_vm()["name"])
    assert done.returncode == 1 and b"no display" in done.stderr


def test_display_relays_what_the_server_says(daemon, make_vm, tmp_path):
    """The test driver has no screen: the viewer is told by the end of the connection, the user in words."""
    vm = make_vm(start=True, display=True)
    path = tmp_path / "screen"
    with subprocess.Popen(command(daemon, "display", vm["name"], "--listen", path, "--once"),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline().decode().strip() == str(path)
        assert path.stat().st_mode & 0o077 == 0
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as viewer:
            viewer.settimeout(30)
            viewer.connect(str(path))
            assert viewer.recv(16) == b""
        _, said = process.communicate(timeout=30)
    assert process.returncode != 0 and b"host" in said
    assert not path.exists()
