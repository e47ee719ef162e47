"""drover whoami, vm set, vm user-data, image versions, history…: the commands that are one request."""
import json
import time

import pytest
from daemon import eventually
from test_cli import daemon, drover, vm  # noqa: F401


def test_whoami_says_what_the_credential_may_do(drover, daemon):  # noqa: F811
    token = drover("token", "create", "me", "--role", "viewer").stdout.decode().strip()
    me = json.loads(drover("whoami", "-o", "json", env={"DROVER_URL": daemon.url, "DROVER_TOKEN": token}).stdout)
    assert (me["name"], me["role"]) == ("me", "viewer") and me["id"].startswith("token:")
    assert b"admin" in drover("whoami").stdout


def test_a_definition_is_changed_member_by_member(drover, vm, tmp_path):  # noqa: F811
    (tmp_path / "init").write_text("#cloud-config\nhostname: 'x'\n")
    drover("vm", "set", vm, "cpus=2", "memory_mib=128", "labels.tier=1", "labels.ci.job=", "description=yes",
           'networks=[{"mode": "bridge", "source": "br0"}]', f"user_data=@{tmp_path / 'init'}")
    shown = drover("vm", "show", vm, parse=True)
    assert (shown["cpus"], shown["memory_mib"], shown["labels"], shown["description"]) == (2, 128, {"tier": "1"}, "yes")
    assert shown["networks"][0]["source"] == "br0"
    assert drover("vm", "user-data", vm).stdout == b"#cloud-config\nhostname: 'x'\n"
    drover("vm", "set", vm, "cpus=", "user_data=")
    assert drover("vm", "show", vm, parse=True)["cpus"] == 1
    drover("vm", "user-data", vm, status=4)
    drover("vm", "start", vm)
    assert b"stopped and started" in drover("vm", "set", vm, "cpus=2").stderr


def test_a_wrong_member_changes_nothing(drover, vm):  # noqa: F811
    before = drover("vm", "show", vm, parse=True)["etag"]
    assert b"at: /memory" in drover("vm", "set", vm, "memory=1", status=1).stderr
    assert b"/cpus" in drover("vm", "set", vm, "cpus=many", status=1).stderr
    assert b"MEMBER=VALUE" in drover("vm", "set", vm, "cpus", status=2).stderr
    drover("vm", "set", vm, "cpus=2", "--if-match", "999", status=5)
    assert drover("vm", "show", vm, parse=True)["etag"] == before


def test_a_label_tells_where_it_has_pointed(drover, tmp_path):  # noqa: F811
    for n in (1, 2):
        (tmp_path / "disk").write_bytes(bytes([n]) * (1 << 20))
        drover("image", "create", f"disk-{n}", "--format", "raw", "--file", str(tmp_path / "disk"))
        drover("image", "label", "moving", f"disk-{n}")
    table = drover("image", "versions", "moving").stdout.decode().splitlines()
    assert [line.split()[:2] for line in table[1:]] == [["2", "disk-2"], ["1", "disk-1"]]
    drover("image", "versions", "nosuch", status=4)


def test_history_is_a_line_for_each_step(drover, vm):  # noqa: F811
    def lines():
        since = str(int(time.time()) - 120)
        return drover("host", "history", "--step", "1", "--from", since).stdout.decode().splitlines()

    # The newest steps are not there before their time is over.
    eventually(lambda: "AVAILABLE" in lines()[0] and any("GiB" in line for line in lines()), 60)
    assert len(lines()) > 100 and lines()[0].startswith("TIME")
    assert drover("vm", "history", vm, parse=True)["step_seconds"] >= 1
    assert b"from" in drover("host", "history", "--from", "yesterday", status=1).stderr


def test_empty_lists_say_how_to_fill_them(drover):  # noqa: F811
    assert b"catalogue create" in drover("catalogue", "sources").stderr
    drover("catalogue", "show", "nosuch", status=4)
    drover("pool", "user-data", "nosuch", status=4)


@pytest.mark.parametrize("command", [["freeze"], ["thaw"], ["set-time"], ["log"], ["clear-log"]])
def test_a_guest_that_is_off_is_not_asked(drover, vm, command):  # noqa: F811
    done = drover("vm", *command, vm, status=5)
    assert done.stdout == b"" and done.stderr


def test_secrets_for_a_guest_come_from_files(drover, vm, tmp_path):  # noqa: F811
    assert b"nothing in" in drover("vm", "password", vm, "root", stdin=b"", status=2).stderr
    assert b"no file" in drover("vm", "add-keys", vm, "root", str(tmp_path / "none"), status=2).stderr
    assert drover("vm", "password", vm, "root", stdin=b"secret\n", status=5).stderr.find(b"secret") < 0
