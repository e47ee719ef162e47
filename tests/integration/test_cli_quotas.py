"""drover quota and drover webhook."""
import re

import pytest
from daemon import Daemon, eventually
from test_cli import drover  # noqa: F401
from webhook_receiver import SECRET, Receiver


@pytest.fixture(scope="module")
def daemon():
    with Daemon(settings={"webhook_private": 1}) as d:
        yield d


def test_limits_are_set_shown_and_taken_away(drover, daemon):  # noqa: F811
    table = drover("quota", "set", "vms=2", "memory_mib=4096").stdout.decode()
    assert re.search(r"default +vms +0 +2\b", table) and re.search(r"cpus +0 +no limit", table)
    shown = drover("quota", "show", parse=True)
    assert shown["project"]["quota"]["vms"] == 2 and shown["project"]["quota"]["memory_mib"] == 4096
    token = daemon.client().post("/v1/tokens", {"name": "ci", "role": "operator"}).json["id"]
    drover("quota", "set", "--of-token", token, "leases=1")
    assert re.search(r"ci +leases +0 +1\b", drover("quota", "show", "--of-token", token).stdout.decode())
    assert "project default" in drover("quota", "show").stdout.decode()
    assert drover("quota", "set", "vms=none", parse=True)["quota"]["vms"] is None
    assert drover("quota", "show", "--project", "default", parse=True)["quota"]["memory_mib"] == 4096


def test_a_refusal_has_the_arithmetic(drover):  # noqa: F811
    drover("quota", "set", "vms=0")
    done = drover("vm", "create", "one", "--memory", "64", status=1)
    assert b"vms=0: 0 in use and 1 more asked for" in done.stderr
    drover("quota", "set", "vms=none")


def test_wrong_limits_are_usage_or_refused(drover):  # noqa: F811
    for wrong in ("vms", "vms=", "vms=many"):
        drover("quota", "set", wrong, status=2)
    assert b"/quota/disks" in drover("quota", "set", "disks=1", status=1).stderr
    drover("quota", "show", "--of-token", "AAAAAAAAAAAA", status=4)


def test_a_webhook_from_its_making_to_its_end(drover, daemon, tmp_path):  # noqa: F811
    secret = tmp_path / "secret"
    secret.write_text(SECRET + "\n")
    with Receiver() as receiver:
        hook = drover("webhook", "add", receiver.url, "-e", "vm.created", "-e", "pool.*", "--secret-file", str(secret),
                      "--label", "team=ci").stdout.decode().strip()
        assert b"status 204" in drover("webhook", "test", hook).stdout
        assert receiver.types() == ["webhook.ping"]
        listed = drover("webhook", "list").stdout.decode()
        assert hook in listed and receiver.url in listed and " ok " in listed
        drover("vm", "create", "told", "--memory", "64")
        eventually(lambda: receiver.types() == ["webhook.ping", "vm.created"])
        seq = receiver.messages[1][1]["seq"]
        drover("webhook", "redeliver", hook, str(seq))
        eventually(lambda: receiver.seqs()[1:] == [seq, seq])
        shown = eventually(lambda: (lambda t: t if t.count("vm.created") >= 3 else None)(
            drover("webhook", "show", hook).stdout.decode()))
        assert "team" in shown and "webhook.ping" in shown
        drover("webhook", "disable", hook)
        assert drover("webhook", "show", hook, parse=True)["state"] == "disabled"
        drover("webhook", "enable", hook)
        receiver.answer = 500
        assert b"status 500" in drover("webhook", "test", hook, status=1).stderr
    drover("webhook", "delete", hook)
    drover("webhook", "show", hook, status=4)
    assert drover("webhook", "list", parse=True)["items"] == []


def test_a_secret_that_was_drawn_is_shown_once(drover):  # noqa: F811
    done = drover("webhook", "add", "https://example.org/hook", "--disabled")
    assert re.search(rb"whsec_[A-Za-z0-9+/]{43}=", done.stderr) and b"whsec" not in done.stdout
    hook = done.stdout.decode().strip()
    assert "whsec" not in drover("webhook", "show", hook).stdout.decode()
    drover("webhook", "delete", hook)
    drover("webhook", "add", "https://example.org/", "--secret-file", "/nonexistent", status=2)
    drover("webhook", "add", "https://example.org/", "--label", "nothing", status=2)
