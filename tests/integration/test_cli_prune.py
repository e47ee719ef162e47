"""drover apply --prune: what carries a label and is no longer in the files."""
import os
import pty
import subprocess

import pytest
from test_cli import DROVER, daemon, drover  # noqa: F401
from test_cli_apply import lines

VM = "{{kind: vm, name: {0}, spec: {{memory_mib: 64, vsock: false, labels: {{app.name: herd}}, start: {1}}}}}\n"
SET = ("{kind: set, name: course, spec: {count: 1, name_pattern: 'seat-{n}', start: false, labels: {app.name: herd}, "
       "machines: [{name: pc, memory_mib: 64, vsock: false}]}}\n")
HOOK = "{kind: webhook, name: hook, spec: {url: 'https://hooks.example.org/x', enabled: false, labels: {app.name: herd}}}\n"
POOL = "{kind: pool, name: cattle, spec: {ready: 0, vm: {memory_mib: 64, labels: {app.name: herd}}}}\n"
ALL = "---\n".join((VM.format("old", "true"), VM.format("kept", "false"), SET, HOOK, POOL))
KEPT = VM.format("kept", "false")
LABEL = ("--prune", "app.name=herd")
GONE = ["webhook/hook", "vm/old", "set/course"]


@pytest.fixture
def herd(drover, tmp_path):  # noqa: F811
    """All of it on the server, and a file that defines one of them."""
    drover("apply", "-f", "-", *LABEL, stdin=ALL.encode())
    drover("vm", "create", "others", "--memory", "64", "--no-vsock", "--label", "app.name=other")
    file = tmp_path / "kept.yaml"
    file.write_text(KEPT)
    yield str(file)
    for kind in ("webhook", "set", "vm", "pool"):
        for name in drover(kind, "list", "-o", "name").stdout.decode().split():
            drover(kind, "delete", name, *(["--force"] if kind == "vm" else []))


def there(drover):  # noqa: F811
    return {f"{kind}/{name}" for kind in ("set", "vm", "pool") for name in drover(kind, "list", "-o", "name").stdout.decode().split()}


EVERYTHING = {"set/course", "vm/old", "vm/kept", "vm/others", "vm/seat-1", "pool/cattle"}
REST = {"vm/kept", "vm/others", "pool/cattle"}


def test_what_would_go_is_said(drover, herd):  # noqa: F811
    said = lines(drover("apply", "-f", herd, *LABEL, "--dry-run"))
    assert said == ["vm/kept unchanged", *(f"{what} deleted (not done: --dry-run)" for what in GONE)]
    shown = drover("diff", "-f", herd, *LABEL, status=1).stdout.decode().splitlines()
    assert shown == [line for what in GONE for line in (f"--- {what}  (server)", f"+++ {what}  (in none of the files: deleted)")]
    assert drover("diff", "-f", herd).stdout == b""
    refused = drover("apply", "-f", herd, *LABEL, status=2).stderr
    assert b"vm/old (running) would be deleted" in refused and b"nothing was changed" in refused and b"--yes" in refused
    assert there(drover) == EVERYTHING


def test_it_goes_when_yes_is_said_and_then_nothing_is_left_to_do(drover, herd):  # noqa: F811
    assert lines(drover("apply", "-f", herd, *LABEL, "--yes")) == ["vm/kept unchanged", *(f"{what} deleted" for what in GONE)]
    assert there(drover) == REST and drover("webhook", "list", parse=True)["items"] == []
    assert lines(drover("apply", "-f", herd, *LABEL)) == ["vm/kept unchanged"], "nothing to ask about"
    assert drover("diff", "-f", herd, *LABEL).stdout == b""


@pytest.mark.parametrize("answer, status", [(b"y\n", 0), (b"n\n", 2), (b"\n", 2)])
def test_a_terminal_is_asked(daemon, drover, herd, answer, status):  # noqa: F811
    ours, theirs = pty.openpty()
    os.write(ours, answer)  # typed ahead
    done = subprocess.run([DROVER, "--socket", daemon.socket_path, "apply", "-f", herd, *LABEL], stdin=theirs, stderr=theirs,
                          stdout=subprocess.PIPE, timeout=60, check=False)
    os.close(theirs)
    said = os.read(ours, 1 << 16)
    os.close(ours)
    assert done.returncode == status and b"Delete 3" in said and b"vm/old (running) would be deleted" in said
    assert there(drover) == (REST if status == 0 else EVERYTHING)
    assert (done.stdout == b"") == (status != 0)


def test_nothing_goes_when_something_could_not_be_applied(drover, herd, tmp_path):  # noqa: F811
    (tmp_path / "bad.yaml").write_text(VM.format("bad", "false").replace("memory_mib: 64", "memory_mib: 1"))
    failed = drover("apply", "-f", herd, "-f", str(tmp_path / "bad.yaml"), *LABEL, "--yes", status=1)
    assert b"nothing was deleted" in failed.stderr and there(drover) == EVERYTHING


def test_a_definition_without_the_label_is_refused(drover, herd, tmp_path):  # noqa: F811
    (tmp_path / "bare.yaml").write_text("{kind: vm, name: bare, spec: {memory_mib: 64, vsock: false}}")
    for verb in ("apply", "diff"):
        refused = drover(verb, "-f", herd, "-f", str(tmp_path / "bare.yaml"), *LABEL, status=2).stderr
        assert b"vm/bare does not carry the label app.name=herd" in refused
    assert b"not like key=value" in drover("apply", "-f", herd, "--prune", "herd", status=2).stderr
    assert there(drover) == EVERYTHING


def test_programs_are_told_too(drover, herd):  # noqa: F811
    done = drover("apply", "-f", herd, *LABEL, "--yes", parse=True)
    assert [(i["kind"] + "/" + i["name"], i["result"]) for i in done["items"]] == [
        ("vm/kept", "unchanged"), *((what, "deleted") for what in GONE)]
