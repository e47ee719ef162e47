"""The drover command against a real daemon on libvirt's test driver."""

import json
import os
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from daemon import BUILD, Daemon, eventually  # noqa: E402

DROVER = BUILD / "drover"


@pytest.fixture(scope="module")
def daemon():
    with Daemon(libvirt="test:///default") as running:
        yield running


@pytest.fixture
def drover(daemon):
    """Runs the command over the Unix socket, as root does; json=True parses its answer."""

    def run(*args, status=0, parse=False, stdin=None, env=None):
        command = [DROVER, *([] if env else ["--socket", daemon.socket_path]), *(["--json"] if parse else []), *args]
        clean = {k: v for k, v in os.environ.items() if not k.startswith("DROVER_")}
        done = subprocess.run(command, capture_output=True, input=stdin, timeout=120, env={**clean, **(env or {})},
                              check=False)
        assert done.returncode == status, (args, done.returncode, done.stdout, done.stderr)
        return json.loads(done.stdout) if parse else done

    return run


@pytest.fixture
def vm(drover):
    drover("vm", "create", "pet", "--cpus", "1", "--memory", "64M", "--label", "ci.job=7", "--no-vsock")
    yield "pet"
    drover("vm", "delete", "pet", "--force")


def test_the_version_is_the_servers(drover):
    assert drover("version").stdout.decode().split()[1] == drover("version", "--server", parse=True)["server_version"]


def test_a_vm_is_created_as_the_options_say(drover, vm):
    shown = drover("vm", "show", vm, parse=True)
    assert (shown["cpus"], shown["memory_mib"], shown["labels"], shown["state"]) == (1, 64, {"ci.job": "7"}, "stopped")
    assert [v["name"] for v in drover("vm", "list", "--label", "ci.job=7", parse=True)["items"]] == [vm]
    assert drover("vm", "list", "--label", "ci.job=8", parse=True)["items"] == []
    assert b"pet" in drover("vm", "list").stdout


def test_the_verbs_move_a_vm_and_wait_for_it(drover, vm):
    for verb, state in (("start", "running"), ("pause", "paused"), ("resume", "running"), ("stop", "stopped")):
        drover("vm", verb, vm)
        assert drover("vm", "show", vm, parse=True)["state"] == state
    kinds = {op["kind"] for op in drover("op", "list", "--vm", vm, parse=True)["items"]}
    assert {"vm.start", "vm.pause", "vm.resume", "vm.stop"} <= kinds


def test_only_what_is_on_has_been_up(drover, vm):
    def up():
        titles, row = (re.split(" {2,}", line) for line in drover("vm", "list", "--name", vm).stdout.decode().splitlines())
        return dict(zip(titles, row))["UP"]

    assert up() == "-"
    for verb in ("start", "pause"):
        drover("vm", verb, vm)
        assert up()[:1].isdigit()
    drover("vm", "stop", vm)
    assert drover("vm", "show", vm, parse=True)["started_at"] and up() == "-"


def test_not_waiting_prints_the_operation(drover, vm):
    operation = drover("vm", "start", vm, "--no-wait").stdout.decode().strip()
    assert drover("op", "wait", operation, parse=True)["state"] == "succeeded"
    assert drover("op", "show", operation, parse=True)["kind"] == "vm.start"


def test_failures_have_their_status(drover, vm, daemon):
    assert b"nosuch" in drover("vm", "show", "nosuch", status=4).stderr
    assert drover("vm", "create", vm, status=5).stderr
    assert drover("vm", "pause", vm, status=5).stderr
    assert b"/name" in drover("vm", "create", "Bad_Name", status=1).stderr
    drover("vm", "delete", vm, "--if-match", "999", status=5)
    drover("vm", "list", status=6, env={"DROVER_URL": daemon.url, "DROVER_TOKEN": "wrong"})
    drover("console", "nosuch", status=4, stdin=b"")
    drover("console", vm, status=5, stdin=b"")


def test_an_idempotency_key_creates_once(drover):
    args = ("vm", "create", "once", "--no-vsock", "--idempotency-key", "k1")
    assert drover(*args).stdout == drover(*args).stdout
    drover("vm", "delete", "once")


def test_a_token_works_until_it_is_revoked(drover, daemon):
    made = drover("token", "create", "reader", "--role", "viewer", "--expires", "1h", parse=True)
    env = {"DROVER_URL": daemon.url, "DROVER_TOKEN": made["token"]}
    drover("vm", "list", env=env)
    drover("vm", "create", "x", status=6, env=env)
    assert made["id"] in [t["id"] for t in drover("token", "list", parse=True)["items"]]
    drover("token", "revoke", made["id"])
    drover("vm", "list", status=6, env=env)


def test_a_login_link_leads_to_the_dashboard(drover, daemon):
    link = drover("login-link").stdout.decode().strip()
    assert link.startswith(daemon.url) and "#code=" in link


def test_an_image_is_uploaded_whole_and_used(drover, tmp_path):
    (tmp_path / "disk").write_bytes(b"\xeb\xfe" + bytes(508) + b"\x55\xaa" + bytes(1 << 20))
    made = drover("image", "create", "sector", "--format", "raw", "--file", str(tmp_path / "disk"), parse=True)
    assert made["state"] == "ready" and made["files"]["content"]["size_bytes"] == 512 + (1 << 20)
    drover("image", "upload", "sector", str(tmp_path / "missing"), status=2)
    assert b"sector" in drover("image", "list").stdout
    drover("vm", "create", "user", "--image", "sector", "--no-vsock")
    drover("image", "delete", "sector", status=5)
    drover("vm", "delete", "user")
    drover("image", "delete", "sector")
    drover("image", "show", "sector", status=4)


def test_host_ksm_stats_and_checks_are_shown(drover, vm):
    assert b"cpus" in drover("host", "show").stdout
    assert b"page_size_bytes" in drover("ksm").stdout
    drover("vm", "start", vm)
    eventually(lambda: drover("stats", parse=True)["items"], what="a sample")
    assert b"pet" in drover("stats").stdout
    eventually(lambda: b"pet" in drover("top").stdout, what="a line in top") # no terminal: once
    assert drover("top", parse=True)["items"][0]["promised_bytes"] > 0
    assert b"memory" in drover("top", "--sort", "beauty", status=2).stderr
    assert drover("ksm", "density", parse=True)["by"] == "image"
    assert b"pet" in drover("ksm", "density", "--by", "label.none").stdout
    drover("ksm", "tune", "sideways", status=1)
    if drover("ksm", parse=True)["available"]:
        assert drover("ksm", "tune", "auto", "--cpu", "4", parse=True)["tuner"]["cpu_percent"] == 4
    # the test driver knows no figures, so none may be shown
    assert drover("stats", vm, parse=True)["cpu"] == {}


def test_checks_fail_the_command_only_when_one_fails(daemon):
    done = subprocess.run([DROVER, "--socket", daemon.socket_path, "--json", "host", "check"], capture_output=True, timeout=60,
                          check=False)
    failed = [c for c in json.loads(done.stdout)["items"] if c["result"] == "failed"]
    assert done.returncode == (1 if failed else 0)
    for check in failed:
        assert check["cause"] and check["fix"]


def test_events_are_followed_across_a_restart(drover, daemon, vm):
    command = [DROVER, "--socket", daemon.socket_path, "--json", "events", "--follow", "--since", "0"]
    seen = []

    def until_born(process, name):
        while not (seen and seen[-1]["type"] == "vm.created" and seen[-1]["subject"]["name"] == name):
            assert select.select([process.stdout], [], [], 30)[0], f"{name} did not come; seen: {seen}"
            seen.append(json.loads(process.stdout.readline()))

    # Unbuffered, so that select() sees what readline() has not taken.
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0)
    try:
        until_born(process, vm)
        daemon.restart()
        drover("vm", "create", "after", "--no-vsock")
        until_born(process, "after")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    drover("vm", "delete", "after")
    numbers = [event["seq"] for event in seen]
    assert numbers == sorted(set(numbers)), "an event came twice or out of order"


def test_a_set_from_its_making_to_its_end(drover):
    plan = drover("set", "create", "cli-set", "--count", "2", "--machine", "web", "--machine", "db", "--subnet", "10.40.{n}.0/24",
                  "--gateway-host", "1", "--dry-run").stdout
    assert b"cli-set-02-db" in plan and b"10.40.2.11/24" in plan and b"cli-set" not in drover("set", "list").stdout
    made = drover("set", "create", "cli-set", "--count", "2", "--machine", "web", "--machine", "db", "--memory", "64", "--for", "1h",
                  "--pattern", "s{n}-{machine}", parse=True)
    assert made["state"] == "succeeded" and made["progress"]["done_vms"] == 4
    assert b"cli-set  running" in drover("set", "list").stdout
    shown = drover("set", "show", "cli-set").stdout
    assert b"cli-set: running, 4/4 VMs run" in shown and b"s2-db" in shown
    assert [vm["name"] for vm in drover("vm", "list", "--set", "cli-set", parse=True)["items"]][0] == "s1-web"
    drover("set", "stop", "cli-set")
    drover("set", "start", "cli-set")
    assert drover("set", "reset", "cli-set", "1", parse=True)["progress"]["total_vms"] == 2
    drover("set", "reimage", "cli-set", "--no-start")
    assert drover("set", "show", "cli-set", parse=True)["state"] == "stopped"
    drover("set", "extend", "cli-set")
    assert drover("set", "show", "cli-set", parse=True)["expires_at"] is None
    drover("set", "delete", "cli-set")
    assert b"No sets" in drover("set", "list").stderr


def test_what_ends_a_thing_goes_by_every_word_for_it(drover):
    for kind in ("vm", "set", "pool", "lease", "token", "ticket", "webhook", "image", "recording", "catalogue", "context"):
        said = {drover("help", *kind.split(), word).stdout for word in ("delete", "rm", "remove", "revoke", "release")}
        assert len(said) == 1 and said.pop().startswith(f"Usage: drover {kind} ".encode()), kind
    drover("pool", "put", "cli-rm", "--memory", "64", "--ready", "0", "--max", "1")
    drover("pool", "rm", "cli-rm")
    assert b"cli-rm" not in drover("pool", "list").stdout
    assert drover("rm", "cli-rm", status=2).stderr.count(b"no command")


def test_a_pool_is_made_and_its_vms_leased(drover):
    drover("pool", "put", "cli-pool", "--memory", "64", "--ready", "1", "--max", "2")
    eventually(lambda: drover("pool", "show", "cli-pool", parse=True)["status"]["ready"] == 1, 30)
    assert b"cli-pool" in drover("pool", "list").stdout
    asked = drover("lease", "create", "cli-pool", "--for", "10m", "--holder", "me", "--wait", "running")
    lease, vm = asked.stdout.decode().split()
    assert vm.startswith("cli-pool-") and lease.encode() in drover("lease", "list").stdout
    renewed = drover("lease", "renew", lease, "--for", "20m", parse=True)
    assert renewed["ttl_seconds"] == 1200 and renewed["holder"] == "me"
    drover("lease", "release", lease)
    assert lease.encode() not in drover("lease", "list").stdout
    assert lease.encode() in drover("lease", "list", "--all").stdout
    timeline = drover("lease", "record", lease, parse=True)["timeline"]
    # what waited was there before it was asked for
    assert [t["what"] for t in timeline if not t["what"].startswith("vm-")][:2] == ["asked", "claimed"]
    assert [t["at"] for t in timeline] == sorted(t["at"] for t in timeline)
    drover("pool", "delete", "cli-pool")
    eventually(lambda: not drover("vm", "list", parse=True)["items"], 30)
