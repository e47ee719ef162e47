"""ssh to a guest without a network: `ssh -o ProxyCommand='drover vsock VM 22'`, both as they are.

The guest's side is Debian's dropbear on the stand-in for vsock, one process for each connection.
"""
import hashlib
import os
import pwd
import shutil
import socket
import subprocess
import threading

import pytest
from daemon import BUILD, Daemon
from guest_sockets import GuestSockets, available

DROPBEAR = shutil.which("dropbear", path=os.environ["PATH"] + ":/usr/sbin")
# In a mount namespace of its own, since dropbear knows one place for keys only: the user's home.
SERVER = """mount -t tmpfs -o mode=700 none "$1" && mkdir -m 700 "$1/.ssh" && cp "$2" "$1/.ssh/authorized_keys" &&
chmod 600 "$1/.ssh/authorized_keys" && cd / && exec "$3" -i -s -j -k -r "$4" """


def may_mount():
    return subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True,
                          check=False).returncode == 0


@pytest.fixture(scope="module")
def guests():
    if not available(BUILD / "droverd"):
        pytest.skip("only sanitizer builds have the stand-in for vsock")
    if not DROPBEAR or not shutil.which("ssh"):
        pytest.skip("dropbear or ssh is not installed")
    if b"vsock VM PORT" not in subprocess.run([BUILD / "drover", "--help"], capture_output=True, check=True).stdout:
        pytest.skip("this drover has no command vsock")
    if os.geteuid() != 0 or not may_mount():
        pytest.skip("only root can make the mount namespace that the guest's sshd lives in")
    with GuestSockets() as made:
        yield made


@pytest.fixture(scope="module")
def daemon(guests, contract):
    with Daemon(check=contract.check, env=guests.env) as d:
        yield d


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    where = tmp_path_factory.mktemp("keys")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", where / "user"], check=True, timeout=60)
    subprocess.run(["dropbearkey", "-t", "ed25519", "-f", where / "host"], check=True, timeout=60, capture_output=True)
    return where


def pump(source, sink):
    """Until the end of one direction, which is passed on."""
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


class Sshd(threading.Thread):
    """What inetd would be in the guest. dropbear does not like a socket that has a path for a name, so it
    gets one without."""

    def __init__(self, listener, keys):
        super().__init__(daemon=True)
        self.listener, self.keys, self.served = listener, keys, []
        self.start()

    def run(self):
        home = pwd.getpwuid(0).pw_dir
        while True:
            try:
                guest, _ = self.listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            guest.setblocking(True)
            ours, its = socket.socketpair()
            with its, open(self.keys / "sshd.log", "ab") as log:
                process = subprocess.Popen(
                    ["unshare", "-m", "sh", "-c", SERVER, "sh", home, self.keys / "user.pub", DROPBEAR,
                     self.keys / "host"], stdin=its, stdout=its, stderr=log)
            pumps = [threading.Thread(target=pump, args=ends, daemon=True) for ends in ((guest, ours), (ours, guest))]
            for thread in pumps:
                thread.start()
            self.served.append((process, pumps, guest, ours))

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.join(30)
        for process, pumps, *ends in self.served:
            process.wait(30)
            for end in ends:
                end.close()
            for thread in pumps:
                thread.join(30)


@pytest.fixture
def ssh(daemon, guests, make_vm, keys):
    """ssh(COMMAND, input) in a guest; what it printed."""
    vm = make_vm(start=True)
    server = Sshd(guests.listen(vm["vsock_cid"], 22), keys)
    proxy = f"{BUILD / 'drover'} --socket {daemon.socket_path} vsock {vm['name']} %p"

    def run(*command, data=b"", check=True, user="root"):
        done = subprocess.run(
            ["ssh", "-F", "/dev/null", "-o", f"ProxyCommand={proxy}", "-o", "StrictHostKeyChecking=no",
             "-o", f"UserKnownHostsFile={keys / 'known_hosts'}", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes",
             "-o", "LogLevel=ERROR", "-i", keys / "user", f"{user}@guest", *command],
            input=data, capture_output=True, timeout=120, check=False)
        assert not check or done.returncode == 0, (done.stderr, (keys / "sshd.log").read_bytes()[-2000:])
        return done

    yield run
    server.close()


def test_a_command_its_output_and_its_status(ssh):
    assert ssh("echo out; echo err >&2").stdout == b"out\n"
    done = ssh("exit 7", check=False)
    assert done.returncode == 7, done.stderr


def test_bytes_in_both_directions(ssh):
    sent = os.urandom(3_000_000)
    got = ssh("cat", data=sent).stdout  # ends because the end of our input arrives
    assert hashlib.sha256(got).digest() == hashlib.sha256(sent).digest()


def test_several_at_once(ssh):
    results = {}

    def session(number):
        results[number] = ssh("cat", data=b"%d" % number * 1000).stdout

    threads = [threading.Thread(target=session, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(150)
    assert results == {i: b"%d" % i * 1000 for i in range(4)}


def test_a_stranger_is_refused_by_the_guest(ssh, keys):
    done = ssh("true", check=False, user="daemon")
    assert done.returncode == 255 and b"Permission denied" in done.stderr


def test_nobody_listens_there(daemon, make_vm, guests):
    vm = make_vm(start=True)
    done = subprocess.run(["ssh", "-F", "/dev/null", "-o", "BatchMode=yes", "-o",
                           f"ProxyCommand={BUILD / 'drover'} --socket {daemon.socket_path} vsock {vm['name']} 22",
                           "root@guest", "true"], capture_output=True, timeout=60, check=False)
    assert done.returncode == 255 and b"nothing listens on vsock port 22" in done.stderr, done.stderr
