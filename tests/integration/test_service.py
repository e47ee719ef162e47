"""droverd as a service: readiness, watchdog, socket activation, reload, refusals at start."""
import fcntl
import os
import signal
import socket
import subprocess
import tempfile

import pytest
from conftest import CONTRACT

from daemon import BUILD, Daemon, eventually


@pytest.fixture
def notify(tmp_path):
    """A socket like systemd's, and what the daemon said on it."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        sock.setblocking(False)
        said = []

        def heard():
            try:
                while True:
                    said.extend(sock.recv(4096).decode().splitlines())
            except BlockingIOError:
                return said

        yield path, heard


def run(state_dir, *arguments, env=None):
    """Its log goes to a file: nobody reads a pipe while it runs."""
    command = [BUILD / "droverd", "--state-dir", state_dir, "--libvirt", "test:///default", *arguments]
    log = tempfile.TemporaryFile()
    process = subprocess.Popen(command, env={**os.environ, **(env or {})}, stderr=log)
    process.log_file = log
    return process


def ended(process, status):
    process.wait(60)
    process.log_file.seek(0)
    log = process.log_file.read().decode()
    assert process.returncode == status, log
    return log


def test_it_says_when_it_is_ready_alive_and_stopping(tmp_path, notify):
    path, heard = notify
    process = run(tmp_path / "state", "--listen", "127.0.0.1:0",
                  env={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "400000"})
    eventually(lambda: "READY=1" in heard(), 60, "READY=1")
    assert (tmp_path / "state/listen.addr").exists()
    eventually(lambda: heard().count("WATCHDOG=1") >= 3, 60, "three signs of life")
    process.send_signal(signal.SIGTERM)
    ended(process, 0)
    assert "STOPPING=1" in heard()


def test_it_serves_the_socket_it_is_given(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        # the child finds it as descriptor 3, as systemd passes it
        script = ('exec 3<&"$1"; export LISTEN_PID=$$ LISTEN_FDS=1; shift; exec "$@"')
        process = subprocess.Popen(
            ["/bin/bash", "-c", script, "sh", str(server.fileno()), BUILD / "droverd", "--state-dir",
             tmp_path / "state", "--libvirt", "test:///default", "--listen", "127.0.0.1:1"],
            pass_fds=[server.fileno()])
        address = tmp_path / "state/listen.addr"
        eventually(lambda: address.exists() and process.poll() is None, 60, "listening")
        assert address.read_text().strip() == f"127.0.0.1:{port}"
        daemon = Daemon(state_dir=tmp_path / "state")
        daemon.address = f"127.0.0.1:{port}"
        assert daemon.client(token=None).get("/livez").status == 200
        # It was given no Unix socket: it makes its own.
        assert daemon.socket_client().get("/v1/vms").status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_it_leaves_a_unix_socket_it_is_given(tmp_path):
    """Both at once, as deploy/systemd has it; systemd's own stays when the daemon goes."""
    state = tmp_path / "state"
    state.mkdir()
    path = str(state / "drover.sock")
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
        local.bind(path)
        local.listen()
        # Out of the way of descriptors 3 and 4, where they go.
        fds = [fcntl.fcntl(s.fileno(), fcntl.F_DUPFD, 100) for s in (server, local)]
        script = 'exec 3<&"$1" 4<&"$2"; export LISTEN_PID=$$ LISTEN_FDS=2; shift 2; exec "$@"'
        process = subprocess.Popen(
            ["/bin/bash", "-c", script, "sh", *map(str, fds), BUILD / "droverd", "--state-dir", state,
             "--libvirt", "test:///default", "--listen", "127.0.0.1:1"], pass_fds=fds)
        for fd in fds:
            os.close(fd)
        address = state / "listen.addr"
        eventually(lambda: address.exists() and process.poll() is None, 60, "listening")
        assert address.read_text().strip() == f"127.0.0.1:{server.getsockname()[1]}"
        assert Daemon(state_dir=state).socket_client().get("/v1/vms").status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert os.path.exists(path)


def test_directories_let_the_user_of_qemu_through_and_nobody_look(tmp_path):
    """With a libvirtd QEMU is another user, who must reach the disks it is given."""
    process = run(tmp_path / "state", "--listen", "127.0.0.1:0")
    eventually(lambda: (tmp_path / "state/listen.addr").exists() or process.poll() is not None, 60, "listening")
    process.send_signal(signal.SIGTERM)
    ended(process, 0)
    modes = {name: (tmp_path / "state" / name).stat().st_mode & 0o777 for name in ("", "vms", "images")}
    assert modes == {"": 0o711, "vms": 0o711, "images": 0o711}


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0"])
def test_it_does_not_listen_openly_without_being_told(tmp_path, listen):
    log = ended(run(tmp_path / "state", "--listen", listen), 1)
    assert "insecure_listen" in log
    process = run(tmp_path / "state", "--listen", listen, "--insecure-listen", "true")
    eventually(lambda: (tmp_path / "state/listen.addr").exists() or process.poll() is not None, 60, "listening")
    process.send_signal(signal.SIGTERM)
    ended(process, 0)


def test_a_taken_port_is_named(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        log = ended(run(tmp_path / "state", "--listen", f"127.0.0.1:{port}"), 1)
        assert str(port) in log


@pytest.mark.parametrize("arguments, words", [
    (["--no-such", "1"], "no_such"),
    (["--json-depth", "3"], "4 to 128"),
    (["--json-depth"], "needs a value"),
    (["stray"], "stray"),
    (["--config", "/nonexistent/drover.conf"], "/nonexistent/drover.conf"),
])
def test_a_bad_setting_is_named_and_nothing_starts(tmp_path, arguments, words):
    log = ended(run(tmp_path / "state", *arguments), 2)
    assert words in log and not (tmp_path / "state").exists()


def test_it_says_what_it_takes_and_which_it_is():
    def say(*arguments):
        return subprocess.run([BUILD / "droverd", *arguments], capture_output=True, text=True, timeout=60, check=False)

    told = say("--help")
    assert told.returncode == 0 and not told.stderr
    for setting in CONTRACT.document["x-settings"]:
        assert f"--{setting['name'].replace('_', '-')} VALUE\n" in told.stdout, setting
    version = say("--version")
    assert version.returncode == 0 and version.stdout.count(".") >= 2
    wrong = say("--database", "burn")
    assert wrong.returncode == 2 and "check, backup, restore or rebuild" in wrong.stderr


def test_a_second_daemon_on_the_same_state_is_refused(fresh_daemon):
    daemon = fresh_daemon()
    log = ended(run(daemon.state_dir, "--listen", "127.0.0.1:0"), 1)
    assert "cannot start" in log
    assert daemon.client(token=None).get("/livez").status == 200


def test_settings_are_read_again_on_hup(tmp_path):
    config = tmp_path / "drover.conf"
    config.write_text("body_limit_bytes = 65536\n")
    daemon = Daemon(state_dir=tmp_path / "state")
    process = run(daemon.state_dir, "--listen", "127.0.0.1:0", "--config", config)
    try:
        listen = daemon.state_dir / "listen.addr"
        daemon.address = eventually(lambda: listen.exists() and listen.read_text().strip(), 60, "listening")
        api = daemon.client()
        body = {"name": "x" * 3000, "role": "viewer"}
        assert api.post("/v1/tokens", body).status == 422
        config.write_text("body_limit_bytes = 1024\n")
        process.send_signal(signal.SIGHUP)
        eventually(lambda: api.post("/v1/tokens", body).status == 413, what="the new limit")
        config.write_text("body_limit_bytes = 1\n")
        process.send_signal(signal.SIGHUP)
        assert api.get("/v1/vms").status == 200
    finally:
        process.send_signal(signal.SIGTERM)
        log = ended(process, 0)
    assert "the settings stay as they are" in log
