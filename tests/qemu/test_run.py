"""`drover run`: one command in a real guest that is gone afterwards, whatever happens meanwhile."""
import hashlib
import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from rig import BUILD, SLOW, eventually, processes

DROVER = BUILD / "drover"
VM = ("--image", "demo", "--memory", "128")


class Run(subprocess.Popen):
    """The command, with what it printed so far."""

    def __init__(self, rig, *args, env=None, **kw):
        clean = {k: v for k, v in os.environ.items() if not k.startswith("DROVER_")}
        super().__init__([DROVER, "--socket", rig.socket_path, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, env={**clean, **(env or {})}, **kw)
        self.printed, self.said = b"", b""
        self.readers = [threading.Thread(target=self.read, args=a) for a in (("stdout", "printed"), ("stderr", "said"))]
        for reader in self.readers:
            reader.start()

    def read(self, stream, name):
        while data := os.read(getattr(self, stream).fileno(), 65536):
            setattr(self, name, getattr(self, name) + data)

    def kill_reader(self):
        """Nobody reads its output any more."""
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, self.stdout.fileno())
        os.close(null)

    def expect(self, pattern, stream="printed", seconds=SLOW):
        """The match, as soon as it is there."""
        def look():
            if self.poll() is not None:  # its last words may not have been read yet
                for reader in self.readers:
                    reader.join(20)
                assert re.search(pattern, getattr(self, stream)), (self.printed, self.said)
            return re.search(pattern, getattr(self, stream))
        return eventually(look, seconds, f"{pattern} (there is {getattr(self, stream)[-500:]!r})")

    def end(self, status=0, seconds=SLOW):
        """The exit status is as expected; what was printed and said."""
        self.wait(seconds)
        for reader in self.readers:
            reader.join(10)
        self.stdout.close()
        self.stderr.close()
        assert self.returncode == status, (self.returncode, self.printed[-2000:], self.said[-2000:])
        return self.printed, self.said


def run(rig, *args, status=0, **kw):
    return Run(rig, "run", *args, **kw).end(status)


def active(rig):
    return rig.api.get("/v1/leases", state="active").json["items"]


def nothing_left(rig, seconds=SLOW):
    eventually(lambda: not active(rig), seconds, "no lease")
    eventually(lambda: not [v for v in rig.api.get("/v1/vms").json["items"] if v["name"].startswith("run-")], seconds,
               "no VM")


@pytest.fixture(scope="module", autouse=True)
def image(rig, demo_image):
    rig.ensure_image("demo")


@pytest.fixture(scope="module")
def pool(rig, image):
    made = rig.api.put("/v1/pools/ci", {
        "vm": {"image": "demo", "memory_mib": 128, "acceleration": "emulated", "guest_agent": True,
               "networks": [{"mode": "user"}]}, "depth": "booted", "ready_when": "console", "ready": 1, "max": 3})
    assert made.status == 201, made
    yield "ci"
    assert rig.api.delete("/v1/pools/ci").status == 204
    # one that was just being started is ended in the background
    eventually(lambda: not [v for v in rig.api.get("/v1/vms").json["items"] if v["pool_id"]], SLOW, "an empty pool")


def test_a_folder_goes_in_a_command_runs_and_artefacts_come_out(rig, tmp_path):
    source, out = tmp_path / "src", tmp_path / "deep" / "out"
    (source / "sub dir").mkdir(parents=True)
    (source / "sub dir" / "data").write_bytes(os.urandom(300000))
    (source / "build.sh").write_text("#!/bin/sh\necho \"on $(uname -s) for $WHO\"\necho careful >&2\n"
                                     "mkdir -p result/deeper\ncp 'sub dir/data' result/deeper/copy\n"
                                     "ln -s deeper/copy result/link\n")
    (source / "build.sh").chmod(0o755)
    (source / "link").symlink_to("build.sh")
    printed, said = run(rig, *VM, "--copy", source, "--fetch", f"result:{out}", "--env", "WHO=it's $me",
                        "--", "./link")
    assert printed == b"on Linux for it's $me\n"
    assert b"careful\n" in said and b"running on run-" in said
    assert (out / "deeper/copy").read_bytes() == (source / "sub dir/data").read_bytes()
    assert os.readlink(out / "link") == "deeper/copy"
    nothing_left(rig)


def test_output_is_live_and_the_status_is_the_commands(rig, pool):
    job = Run(rig, "run", "--pool", pool, "--", "sh", "-c",
              "echo begun; until [ -e /tmp/go ]; do sleep 0.1; done; printf 'no newline'; exit 42")
    job.expect(rb"^begun\n")
    lease, = active(rig)
    vm = lease["vm"]["id"]
    followed = rig.api.get(f"/v1/vms/{vm}/exec").json["items"]
    assert any(program["stream"] for program in followed), "its output is streamed"
    assert rig.api.post(f"/v1/vms/{vm}/exec", {"argv": ["touch", "/tmp/go"]}, patience=SLOW).status == 200
    assert job.end(42)[0] == b"begun\nno newline"
    ran, = (e for e in rig.api.get(f"/v1/leases/{lease['id']}/record").json["exec"] if "touch" not in e["command"])
    assert ran["exit_code"] == 42 and ran["stdout_tail"] == "begun\nno newline"
    assert ran["command"].startswith("/bin/sh -c # sh -c echo begun;")
    nothing_left(rig)
    eventually(lambda: not processes(vm), 30, "the end of its QEMU")


def test_what_is_large_and_what_is_not_text_arrives_whole(rig, pool):
    printed, said = run(rig, "--pool", pool, "--quiet", "--", "sh", "-c",
                        "i=0; while [ $i -lt 60 ]; do dd if=/dev/urandom bs=30000 count=1 2>/dev/null | tee -a /tmp/all; "
                        "i=$((i+1)); done; md5sum </tmp/all >&2; printf '\\303' >&2; sleep 0.3; printf '\\244\\n' >&2")
    digest, text = said.split(b"  -\n")
    assert len(printed) == 60 * 30000 and hashlib.md5(printed).hexdigest().encode() == digest
    assert text == "ä\n".encode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_gives_the_vm_back(rig, pool, number):
    job = Run(rig, "run", "--pool", pool, "--lease", "1h", "--", "sh", "-c", "echo begun; sleep 600")
    job.expect(rb"^begun\n")
    lease, = active(rig)
    job.send_signal(number)
    job.end(128 + number)
    assert rig.api.get(f"/v1/leases/{lease['id']}").json["end_reason"] == "released"
    nothing_left(rig)


def test_who_is_killed_leaks_nothing(rig, pool):
    job = Run(rig, "run", "--pool", pool, "--lease", "5s", "--", "sh", "-c", "echo begun; sleep 600")
    job.expect(rb"^begun\n")
    lease, = active(rig)
    # it is renewed for as long as somebody is there
    eventually(lambda: rig.api.get(f"/v1/leases/{lease['id']}").json["renewed_at"], SLOW, "a renewal")
    job.kill()
    job.end(-signal.SIGKILL)
    nothing_left(rig)
    ended = rig.api.get(f"/v1/leases/{lease['id']}").json
    assert ended["end_reason"] == "expired"
    eventually(lambda: rig.api.get(f"/v1/vms/{lease['vm']['id']}").status == 404, SLOW, "the VM's end")
    assert not processes(lease["vm"]["id"])


def test_who_reads_the_output_may_go_away(rig, pool):
    job = Run(rig, "run", "--pool", pool, "--", "sh", "-c", "while echo x; do sleep 0.1; done")
    job.expect(rb"x")
    job.kill_reader()
    job.end(125)
    nothing_left(rig)


def test_what_cannot_be_run_says_so(rig, pool, tmp_path):
    assert b"not found" in run(rig, "--pool", pool, "--", "no-such-program", status=127)[1]
    said = run(rig, "--pool", pool, "--fetch", f"nothing:{tmp_path / 'out'}", "--", "true", status=125)[1]
    assert b"cannot fetch nothing" in said and b"there is no nothing" in said
    assert b"no-such-image" in run(rig, "--image", "no-such-image", "--", "true", status=125)[1]
    assert b"there is no pool" in run(rig, "--pool", "no-such-pool", "--", "true", status=125)[1]
    run(rig, "--", "true", status=125)
    run(rig, *VM, "--env", "1=2", "--", "true", status=125)
    run(rig, *VM, "--no-such-option", "--", "true", status=125)
    nothing_left(rig)


def test_time_that_is_up_kills_the_command_and_all_it_started(rig, pool):
    started = time.monotonic()
    printed, said = run(rig, "--pool", pool, "--timeout", "3s", "--", "sh", "-c", "echo begun; sleep 500 & sleep 500",
                        status=124)
    assert printed == b"begun\n" and b"longer than 3 s" in said and time.monotonic() - started < SLOW
    nothing_left(rig)


def test_a_failed_job_keeps_its_vm_and_prints_a_link_to_it(rig, pool):
    said = run(rig, "--pool", pool, "--keep-on-failure", "10m", "--", "sh", "-c", "echo here >/tmp/evidence; exit 9",
               status=9)[1].decode()
    lease, = active(rig)
    vm = lease["vm"]
    assert lease["ttl_seconds"] == 600 and lease["on_expiry"] == "delete"
    assert f"the VM {vm['name']} is kept for 10m" in said
    secret = re.search(r"watch its console: http://\S+#share=(\w+)", said)[1]
    shared = rig.client(token=None).post("/v1/tickets/lookup", {"ticket": secret}).json
    assert (shared["vm"]["id"], shared["mode"], shared["single_use"]) == (vm["id"], "view", False)
    with rig.console(vm["id"], token=None, ticket=secret, mode="view") as c:
        c.expect(rb"root@")
    kept = rig.api.post(f"/v1/vms/{vm['id']}/exec", {"argv": ["cat", "/tmp/evidence"]}, patience=SLOW).json
    assert kept["stdout"] == "here\n"
    told = re.search(r"give it back: drover (lease release \S+)", said)[1]
    Run(rig, *told.split()).end()
    nothing_left(rig)


def test_a_command_that_succeeds_keeps_nothing(rig, pool):
    assert b"kept" not in run(rig, "--pool", pool, "--keep-on-failure", "1h", "--", "true")[1]
    nothing_left(rig)


def test_a_guest_without_tar_is_served_file_by_file(rig, tmp_path):
    """A second archive behind the demo image's own takes tar away, and brings a shell that has none in itself;
    nor has the guest what streaming takes."""
    rig.upload_demo("no-tar", {"bin/tar": b"not a program", "bin/mkfifo": b"not a program",
                                "bin/sh": Path("/usr/bin/dash").read_bytes()})
    source, out = tmp_path / "src", tmp_path / "out"
    (source / "a b/c").mkdir(parents=True)
    (source / "a b/c/run").write_text("#!/bin/sh\nmkdir -p out/x; cp link 'out/x/y z'; command -v tar || echo none\n")
    (source / "a b/c/run").chmod(0o755)
    (source / "link").symlink_to("a b/c/run")
    printed, _ = run(rig, "--image", "no-tar", "--memory", "128", "--copy", f"{source}:/w", "--workdir", "/w",
                     "--fetch", f"out:{out}", "--", "a b/c/run")
    assert printed == b"none\n"
    assert (out / "x/y z").read_text() == (source / "link").read_text()


def test_a_daemon_that_is_killed_meanwhile_is_waited_for(fresh_rig, demo_image):
    rig = fresh_rig()
    rig.expect_warning("there is no connection to libvirt")
    rig.ensure_image("demo")
    job = Run(rig, "run", *VM, "--", "sh", "-c", "echo begun; until [ -e /tmp/go ]; do sleep 0.1; done; echo over; exit 3")
    job.expect(rb"^begun\n")
    lease, = active(rig)
    rig.kill9()
    rig.start()
    vm = lease["vm"]["id"]
    eventually(lambda: rig.api.post(f"/v1/vms/{vm}/exec", {"argv": ["touch", "/tmp/go"]}, patience=SLOW).status == 200,
               SLOW, "the guest goes on")
    assert job.end(3)[0] == b"begun\nover\n"
    nothing_left(rig)


def test_a_vm_that_works_by_itself_is_watched_until_it_powers_off(rig, tmp_path):
    """The demo image has no cloud-init: somebody else tells its guest to power off."""
    data = tmp_path / "user-data"
    data.write_text("#!/bin/sh\npoweroff\n")
    job = Run(rig, "run", *VM, "--user-data", data, "--lease", "5s")
    job.expect(rb"root@")
    vm = active(rig)[0]["vm"]["id"]
    assert rig.api.get(f"/v1/vms/{vm}/user-data").body == data.read_bytes()
    script = "(echo bye >/dev/ttyS0; sleep 1; poweroff) >/dev/null 2>&1 &" # not before this is answered
    eventually(lambda: rig.api.post(f"/v1/vms/{vm}/exec", {"argv": ["sh", "-c", script]}, patience=SLOW).status == 200,
               SLOW, "its end is asked for")
    printed, _ = job.end(0)
    assert b"bye" in printed
    nothing_left(rig)


def test_a_secret_is_passed_by_name(rig, pool):
    job = Run(rig, "run", "--pool", pool, "--env", "SECRET", "--", "sh", "-c", "echo \"$SECRET\"; sleep 1",
              env={"SECRET": "it's 5 o'clock"})
    job.expect(rb"^it's 5 o'clock\n")
    assert b"clock" not in Path(f"/proc/{job.pid}/cmdline").read_bytes()
    job.end()
    assert b"no such variable" in run(rig, "--pool", pool, "--env", "UNSET_HERE", "--", "true", status=125)[1]
    run(rig, "--pool", pool, "--user-data", "/dev/null", status=125)
    run(rig, *VM, "--user-data", "/dev/null", "--", "true", status=125)
    run(rig, *VM, status=125)
    nothing_left(rig)
