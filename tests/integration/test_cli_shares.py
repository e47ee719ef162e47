"""drover share, ticket and recording."""
import re

import pytest
from test_cli import daemon, drover, vm  # noqa: F401

CAST = "\n".join(['{"version": 2, "width": 80, "height": 24, "timestamp": 1}', '[0.0, "o", "one "]',
                  '[30.0, "r", "132x50"]', '[60.0, "m", "7 bytes are missing here"]', "torn",
                  '[3600.5, "o", "two \\u0000\\u001b[1m\\n"]', ""])


def test_a_link_is_printed_listed_and_taken_back(drover, vm, daemon):  # noqa: F811
    done = drover("share", vm, "--for", "2h", "--name", "review")
    link = done.stdout.decode().strip()
    assert re.fullmatch(rf"{re.escape(daemon.url)}/#share=[0-9A-Za-z]{{32}}", link)
    ticket_id = re.search(rb"drover ticket revoke (\w+)", done.stderr)[1].decode()
    (listed,) = drover("ticket", "list", vm, parse=True)["items"]
    assert (listed["id"], listed["mode"], listed["single_use"], listed["name"]) == (ticket_id, "view", False, "review")
    table = drover("ticket", "list").stdout.decode()
    assert ticket_id in table and "review" in table and link.split("=")[1] not in table
    drover("ticket", "revoke", ticket_id)
    assert drover("ticket", "list", parse=True)["items"] == []
    drover("ticket", "revoke", ticket_id, status=4)


def test_options_become_the_request(drover, vm):  # noqa: F811
    made = drover("share", vm, "--control", "--once", "--for", "90", parse=True)
    assert (made["mode"], made["single_use"]) == ("control", True)
    made = drover("ticket", "create", vm, parse=True)
    assert (made["mode"], made["single_use"], made["name"]) == ("control", True, None)
    url = drover("ticket", "create", vm, "--view", "--many").stdout.decode()
    assert url.startswith("ws://") and "/console?mode=view&ticket=" in url
    for wrong in (["--view", "--control"], ["--once", "--many"], ["--for", "soon"], ["--for", "0"]):
        assert drover("share", vm, *wrong, status=2).stderr
    drover("share", "nosuch", status=4)
    assert b"/expires_in_seconds" in drover("share", vm, "--for", "400d", status=1).stderr


def test_recordings_of_a_vm_without_a_console(drover, vm):  # noqa: F811
    assert drover("recording", "list", parse=True)["items"] == []
    assert b"No recordings" in drover("recording", "list", vm).stderr
    assert b"Start the VM" in drover("recording", "start", vm, status=5).stderr
    for verb in ("stop", "show", "get", "delete", "play"):
        drover("recording", verb, "11111111-2222-4333-8444-555555555555", status=4)
    drover("recording", "auto", vm, "on")
    assert drover("vm", "show", vm, parse=True)["record_console"] is True
    drover("recording", "auto", vm, "maybe", status=2)


def test_a_file_is_played(drover, tmp_path):  # noqa: F811
    file = tmp_path / "a.cast"
    file.write_text(CAST)
    assert drover("recording", "play", str(file)).stdout == b"one two \0\x1b[1m\n"  # no terminal: at once
    assert drover("recording", "play", str(file), "--speed", "100", "--idle", "1").stdout.startswith(b"one two")
    drover("recording", "play", str(file), "--speed", "0", status=2)
    file.write_text('{"version": 1}\n')
    assert b"not an asciicast" in drover("recording", "play", str(file), status=1).stderr
    drover("recording", "play", str(tmp_path / "none.cast"), status=1)


@pytest.mark.parametrize("command", ["share", "ticket create", "recording play", "recording start"])
def test_help(drover, command):  # noqa: F811
    assert drover("help", *command.split()).stdout
