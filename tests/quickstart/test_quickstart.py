"""deploy/quickstart as a stranger runs it, in a directory and on a port of its own."""

import json
import os
import re
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = ROOT / "deploy/quickstart"
BUILD = Path(os.environ.get("DROVER_RELEASE_BUILD", ROOT / "build"))

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run it")


def quickstart(state, *args, status=0, timeout=1000):
    done = subprocess.run([QUICKSTART, "--state-dir", state, "--listen", "127.0.0.1:0", "--build-dir", BUILD, *args],
                          capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def drover(state, *args):
    return subprocess.run([BUILD / "drover", "--socket", state / "drover.sock", *args], capture_output=True, text=True,
                          timeout=120, stdin=subprocess.DEVNULL, check=False)


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    directory = tmp_path_factory.mktemp("qs", numbered=True)
    yield directory
    if (directory / "quickstart.pid").exists():
        drover(directory, "vm", "delete", "hello", "--force")
        quickstart(directory, "--stop")


@pytest.fixture(scope="module")
def first(state):
    return quickstart(state)


def link_of(text):
    return re.search(r"^ +(http://\S+#code=\S+)$", text, re.MULTILINE)[1]


def test_it_ends_with_a_link_and_three_commands(first):
    assert link_of(first)
    tried = first[first.index("Try next"):]
    assert len(re.findall(r"^ {4}.*drover ", tried, re.MULTILINE)) == 3


def test_the_link_signs_a_browser_in(first):
    link = link_of(first)
    url, code = link.split("/#code=")
    request = urllib.request.Request(f"{url}/v1/session", json.dumps({"code": code}).encode(),
                                     {"Content-Type": "application/json", "Origin": url})
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.status == 201 and "drover_session=" in answer.headers["Set-Cookie"]
    with urllib.request.urlopen(f"{url}/", timeout=20) as page:
        assert b"<html" in page.read().lower()


def test_the_vm_runs_linux_with_a_shell_on_its_console(first, state):
    assert json.loads(drover(state, "vm", "show", "hello", "--json").stdout)["state"] == "running"
    done = subprocess.run([BUILD / "drover", "--socket", state / "drover.sock", "console", "hello", "--until", "sum=42",
                           "--timeout", "60"], input="echo sum=$((40 + 2))\n", capture_output=True, text=True, timeout=90,
                          check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_second_run_restarts_nothing_and_makes_a_new_link(first, state):
    pid = (state / "quickstart.pid").read_text()
    before = drover(state, "vm", "show", "hello", "--json").stdout
    started = time.monotonic()
    second = quickstart(state)
    assert time.monotonic() - started < 60
    assert (state / "quickstart.pid").read_text() == pid
    assert json.loads(drover(state, "vm", "show", "hello", "--json").stdout)["started_at"] == json.loads(before)["started_at"]
    assert link_of(second) != link_of(first)


def test_a_taken_port_is_named_with_a_way_out(first, state, tmp_path):
    port = (state / "listen.addr").read_text().strip().rsplit(":", 1)[1]
    said = quickstart(tmp_path, "--listen", f"127.0.0.1:{port}", status=1)
    assert f"127.0.0.1:{port}" in said and "--listen" in said


def test_stop_names_the_vms_that_go_on(first, state):
    made = drover(state, "vm", "create", "mine", "--image", "demo", "--memory", "128", "--start", "--wait", "running")
    assert made.returncode == 0, made
    try:
        assert re.search(r"these VMs go on .*: mine$", quickstart(state, "--stop"), re.MULTILINE)
        quickstart(state)
        assert json.loads(drover(state, "vm", "show", "mine", "--json").stdout)["state"] == "running"
    finally:
        drover(state, "vm", "delete", "mine", "--force")


def test_stop_stops_the_vm_and_the_daemon_and_can_be_repeated(first, state):
    pid = int((state / "quickstart.pid").read_text())
    quickstart(state, "--stop")
    assert not (state / "quickstart.pid").exists()
    assert not Path(f"/proc/{pid}/exe").exists()
    leftover = subprocess.run(["pgrep", "-f", f"guest=.*{state}|{state}.*qemu-system"], capture_output=True, text=True, check=False)
    assert leftover.stdout == ""
    assert "nothing runs" in quickstart(state, "--stop")
