"""Secrets are where they belong and nowhere else; what lies on the disk is its owner's alone."""
import contextlib
import os
import stat
from pathlib import Path

import pytest

CANARY = "canary-4d1f0c8e"


@pytest.fixture
def lived(fresh_daemon):
    """A daemon in which there was one of each secret, and everything that makes files."""
    daemon = fresh_daemon(settings={"webhook_private": 1, "log_level": "debug", "backup_minutes": 1})
    api, secrets = daemon.client(), {"admin token": daemon.admin_token()}
    secrets["token"] = api.post("/v1/tokens", {"name": "t", "role": "admin"}).json["token"]
    secrets["spare code"] = api.post("/v1/session/codes").json["code"]
    used = api.post("/v1/session/codes").json["code"]
    signed_in = daemon.client(token=None).post("/v1/session", {"code": used})
    secrets["used code"], secrets["cookie"] = used, signed_in.header("Set-Cookie").split(";")[0].split("=")[1]
    vm = {"name": "keeper", "memory_mib": 64, "user_data": f"#cloud-config\n# {CANARY}-user-data\n"}
    assert api.post("/v1/vms", {**vm, "start": True}, wait="running", timeout=60, patience=90).status == 201
    secrets["ticket"] = api.post("/v1/tickets", {"vm": "keeper", "stream": "console"}).json["ticket"]
    link = {"vm": "keeper", "stream": "console", "mode": "view", "name": "link", "expires_in_seconds": 600}
    secrets["share link"] = api.post("/v1/tickets", link).json["ticket"]
    hook = {"url": f"http://127.0.0.1:9/{CANARY}-path", "secret": f"whsec_{'QUJD' * 10}{CANARY.encode().hex()}"}
    api.post("/v1/webhooks", hook)
    assert api.post("/v1/images", {"name": "i", "kind": "disk", "format": "raw"}).status == 201
    assert api.put("/v1/images/i/content", bytes(4096)).status == 200
    # Wrong ones are as secret: people mistype their own.
    for wrong in (f"drover_AAAAAAAAAAAA_{CANARY}", CANARY + "-token"):
        assert daemon.client(wrong).get(f"/v1/vms?ticket={CANARY}-query").status == 401
    assert daemon.client(token=None).get(f"/v1/vms/keeper/console?ticket={CANARY}-ticket").status in (410, 426)
    return daemon, api, secrets


def files(root):
    for folder, _, names in os.walk(root):
        yield Path(folder)
        yield from (Path(folder) / name for name in names)


def test_secrets_are_in_no_log_argument_environment_or_file(lived):
    daemon, _, secrets = lived
    process = Path(f"/proc/{daemon.pid}")
    seen = {"the command line": process.joinpath("cmdline").read_bytes(),
            "the environment": process.joinpath("environ").read_bytes()}
    for path in files(daemon.state_dir):
        # What is replaced or removed meanwhile has been looked at, or comes by its other name.
        with contextlib.suppress(FileNotFoundError):
            if path.is_file() and path.name != "admin.token":
                seen[str(path)] = path.read_bytes()
    for what, secret in secrets.items():
        for where, content in seen.items():
            assert secret.encode() not in content, f"the {what} is in {where}"
    assert CANARY not in daemon.log()


def test_what_may_hold_secrets_is_shown_where_it_is_asked_for_only(lived):
    _, api, _ = lived
    for path in ("/v1/vms", "/v1/vms/keeper", "/v1/events?limit=1000", "/v1/operations", "/v1/tickets", "/metrics",
                 "/v1/vms/keeper/timeline", "/v1/host", "/v1/host/checks"):
        assert CANARY not in api.get(path).text, path
    assert CANARY in api.get("/v1/vms/keeper/user-data").text


def test_nobody_else_reads_what_the_daemon_keeps(lived):
    daemon, _, _ = lived
    open_to_others = {}
    for path in files(daemon.state_dir):
        try:
            status = path.lstat()
        except FileNotFoundError:
            continue  # replaced meanwhile
        mode = status.st_mode
        if path == daemon.log_path or stat.S_ISLNK(mode):
            continue
        allowed = 0o660 if stat.S_ISSOCK(mode) else 0o711 if stat.S_ISDIR(mode) else 0o600
        if mode & 0o777 & ~allowed or status.st_uid != os.geteuid():
            open_to_others[str(path.relative_to(daemon.state_dir))] = oct(mode & 0o7777)
    # Where it listens is no secret, and others look for it. QEMU, another user with a libvirtd, reads images: by a
    # name that is the hash of what is in there, in a directory that nobody lists.
    images = {path for path, mode in open_to_others.items() if path.startswith("images/") and mode == "0o444"}
    assert open_to_others.keys() - images <= {"listen.addr"}, open_to_others


def test_it_listens_where_it_says_and_nowhere_else(lived):
    daemon, _, _ = lived
    inodes, listening = set(), set()
    for link in Path(f"/proc/{daemon.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile: it did not listen
            target = os.readlink(link)
            if target.startswith("socket:"):
                inodes.add(target[8:-1])
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{daemon.pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] in inodes and (fields[3] == "0A" or table.startswith("udp")):
                listening.add((table, int(fields[1].split(":")[1], 16)))
    assert listening == {("tcp", int(daemon.address.rsplit(":", 1)[1]))}
