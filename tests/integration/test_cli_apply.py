"""drover apply, diff, export: definitions as files."""
import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from daemon import Daemon
from test_cli import DROVER, daemon, drover  # noqa: F401

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGfoOTaTJ5mWc0ZeJH8xqTFDiJ0bL6cTpVGwBqPJ2fQk me@example.org"

HERD = f"""\
# what the test wants
kind: label
name: base
spec:
  image: sector
  keep: 2
---
kind: pool
name: herd
spec:
  ready: 0
  max: 3
  vm:
    image: base
    memory_mib: 64
    user_data: |
      #cloud-config
      hostname: cattle
---
kind: vm
name: pet
spec:
  description: "yes"
  cpus: 1
  memory_mib: 64
  vsock: false
  image: base
  labels: {{ci.job: "7", tier: web}}
  networks: [{{mode: bridge, source: br0}}, {{mode: user}}]
  disks: [{{size_gib: 1}}]
  channels: [org.example.0]
  ssh_keys: ["{KEY}"]
  user_data: |
    #cloud-config
    password: "hidden: word"
"""


@pytest.fixture
def herd(drover, tmp_path):  # noqa: F811
    """The file, and nothing of it on the server, before and after."""
    (tmp_path / "disk").write_bytes(bytes(1 << 20))
    drover("image", "create", "sector", "--format", "raw", "--file", str(tmp_path / "disk"))
    file = tmp_path / "herd.yaml"
    file.write_text(HERD)
    yield file
    for words in (["vm", "delete"], ["pool", "delete"], ["image", "unlabel"]):
        for name in drover(*{"vm": ["vm", "list"], "pool": ["pool", "list"], "image": ["image", "labels"]}[words[0]],
                           "-o", "name").stdout.decode().split():
            drover(*words, name)
    drover("image", "delete", "sector")


def lines(done):
    return done.stdout.decode().splitlines()


def test_missing_things_are_made_then_nothing_is_left_to_do(drover, herd):  # noqa: F811
    assert lines(drover("apply", "-f", herd, "--dry-run")) == [
        f"{what} created (not done: --dry-run)" for what in ("label/base", "pool/herd", "vm/pet")]
    assert drover("vm", "list", parse=True)["items"] == []
    assert lines(drover("apply", "-f", herd)) == ["label/base created", "pool/herd created", "vm/pet created"]
    pool = drover("pool", "show", "herd", parse=True)
    assert lines(drover("apply", "-f", herd)) == ["label/base unchanged", "pool/herd unchanged", "vm/pet unchanged"]
    assert drover("diff", "-f", herd).stdout == b""
    assert drover("pool", "show", "herd", parse=True)["etag"] == pool["etag"] == "1"
    shown = drover("vm", "show", "pet", parse=True)
    assert (shown["etag"], shown["description"], shown["labels"]) == ("1", "yes", {"ci.job": "7", "tier": "web"})


def test_an_export_is_what_was_applied_and_applies_to_nothing_anew(drover, herd, tmp_path):  # noqa: F811
    drover("apply", "-f", herd)
    text = drover("export").stdout
    documents = list(yaml.safe_load_all(text))
    assert [(d["kind"], d["name"]) for d in documents] == [
        ("image", "sector"), ("label", "base"), ("pool", "herd"), ("vm", "pet")]
    assert documents.pop(0)["spec"] == {"kind": "disk", "format": "raw"}, "what was uploaded comes from nowhere"
    for document, wanted in zip(documents, yaml.safe_load_all(HERD)):
        for member, value in wanted["spec"].items():
            own = document["spec"][member]
            assert own == value or member == "networks" or member == "image", member
    assert [n["mode"] for n in documents[2]["spec"]["networks"]] == ["bridge", "user"]
    for form in ("yaml", "json"):
        exported = drover("export", "-o", form).stdout
        assert drover("diff", "-f", "-", stdin=exported).stdout == b""
        assert {line.split()[1] for line in lines(drover("apply", "-f", "-", stdin=exported))} == {"unchanged"}
    # …and makes the same again where nothing is
    with Daemon(libvirt="test:///default") as other:
        command = [DROVER, "--socket", other.socket_path]
        (tmp_path / "again").write_bytes(bytes(1 << 20))
        subprocess.run([*command, "image", "create", "sector", "--format", "raw", "--file", tmp_path / "again"], check=True,
                       capture_output=True, timeout=60)
        made = subprocess.run([*command, "apply", "-f", "-"], input=text, capture_output=True, timeout=60, check=True)
        assert [line.split()[1] for line in lines(made)] == ["unchanged"] + ["created"] * 3
        assert subprocess.run([*command, "export"], capture_output=True, timeout=60, check=True).stdout == text


def test_what_differs_is_shown_and_changed_and_nothing_else(drover, herd):  # noqa: F811
    drover("apply", "-f", herd)
    before = drover("vm", "show", "pet", parse=True)
    herd.write_text(HERD.replace("cpus: 1", "cpus: 2").replace("tier: web", "tier: db").replace("max: 3", "max: 5")
                    .replace("hidden: word", "other: word"))
    shown = drover("diff", "-f", herd, status=1)
    assert shown.stderr == b""
    text = shown.stdout.decode()
    assert [line for line in text.splitlines() if line[:1] in "+-"] == [
        "--- pool/herd  (server)", "+++ pool/herd  (file)", "-max: 3", "+max: 5",
        "--- vm/pet  (server)", "+++ vm/pet  (file)", "-  tier: web", "-cpus: 1", "+  tier: db", "+cpus: 2",
        '-  password: "hidden: word"', '+  password: "other: word"']
    assert lines(drover("apply", "-f", herd)) == ["label/base unchanged", "pool/herd changed", "vm/pet changed"]
    after = drover("vm", "show", "pet", parse=True)
    assert after["cpus"] == 2 and after["networks"] == before["networks"] and after["labels"] == {"ci.job": "7", "tier": "db"}
    pool = drover("export", "pool", "herd").stdout.decode()
    assert "hostname: cattle" in pool and "max: 5" in pool
    assert drover("diff", "-f", herd).stdout == b""


def test_what_the_file_does_not_name_stays(drover, herd):  # noqa: F811
    drover("apply", "-f", herd)
    part = b"{kind: pool, name: herd, spec: {ready: 0, per_holder: 2}}\n---\n{kind: vm, name: pet, spec: {labels: {a: b}}}\n"
    assert lines(drover("apply", "-f", "-", stdin=part)) == ["pool/herd changed", "vm/pet changed"]
    pool, vm = (yaml.safe_load(drover("export", kind).stdout)["spec"] for kind in ("pool", "vm"))
    assert pool["vm"]["user_data"].startswith("#cloud-config") and (pool["max"], pool["per_holder"]) == (3, 2)
    assert vm["labels"] == {"a": "b"} and "hidden" in vm["user_data"] and vm["image"] == "base"


def test_a_running_guest_is_told_of(drover, herd):  # noqa: F811
    drover("apply", "-f", herd)
    drover("vm", "start", "pet")
    try:
        done = drover("apply", "-f", "-", stdin=b"{kind: vm, name: pet, spec: {cpus: 2}}")
        assert b"stopped and started" in done.stdout
        null = drover("apply", "-f", "-", stdin=b"{kind: vm, name: pet, spec: {cmdline: null, ready_pattern: ~}}")
        assert lines(null) == ["vm/pet unchanged"]
    finally:
        drover("vm", "stop", "pet")


def test_start_counts_once(drover, herd):  # noqa: F811
    file = b"{kind: vm, name: pet, spec: {memory_mib: 64, vsock: false, start: true}}"
    drover("apply", "-f", "-", stdin=file)
    drover("vm", "wait", "pet")
    drover("vm", "stop", "pet")
    assert lines(drover("apply", "-f", "-", stdin=file)) == ["vm/pet unchanged"]
    assert drover("vm", "show", "pet", parse=True)["state"] == "stopped"


def test_another_word_for_the_same_image_is_no_change(drover, herd):  # noqa: F811
    drover("apply", "-f", herd)
    image = drover("image", "show", "sector", parse=True)["id"]
    for word in ("sector", "base", image):
        for kind, name in (("label", "base"), ("vm", "pet")):
            file = f"{{kind: {kind}, name: {name}, spec: {{image: {word!r}}}}}".encode()
            assert lines(drover("apply", "-f", "-", stdin=file)) == [f"{kind}/{name} unchanged"]


def test_a_failure_is_told_and_the_rest_is_done(drover, herd):  # noqa: F811
    drover("apply", "-f", herd)
    done = drover("apply", "-f", "-", status=1, stdin=b"{kind: vm, name: pet, spec: {image: other}}\n---\n"
                  b"{kind: vm, name: Bad_Name, spec: {}}\n---\n{kind: vm, name: pet2, spec: {memory_mib: 64, vsock: false}}\n")
    assert lines(done) == ["vm/pet2 created"]
    assert b"vm/pet: drover: " in done.stderr and b"at: /image" in done.stderr and b"vm/Bad_Name: " in done.stderr
    assert b"2 of 3 definitions could not be applied" in done.stderr
    results = json.loads(drover("apply", "-f", "-", "-o", "json", stdin=b"{kind: vm, name: pet2, spec: {cpus: 2}}").stdout)
    assert results == {"items": [{"kind": "vm", "name": "pet2", "result": "changed"}]}


@pytest.mark.parametrize("text, says", [
    (b"kind: vm\nname: x\n", b"kind, name and spec"), (b"kind: van\nname: x\nspec: {}\n", b"set, vm or webhook"),
    (b"kind: vm\nname: x\nspec: {memory: 1}\n", b"no member 'memory'"), (b"a: [\n", b"line 4"), (b"- &a x\n- *a\n", b"anchors"),
    (b"{kind: vm, name: x, spec: {}}\n---\n{kind: vm, name: x, spec: {}}\n", b"document 2: vm/x was defined before"),
    (b"\xff\xfe", b"standard input, line 1"), (b"just words\n", b"kind, name and spec"),
    (b"kind: webhook\nname: x\nspec: {labels: {name: y}}\n", b"leave it out"),
    (b"kind: image\nname: x\nspec: {source: {vm: y}}\n", b"drover image publish")])
def test_a_wrong_file_is_refused_as_a_whole(drover, text, says):  # noqa: F811
    good = b"{kind: vm, name: never, spec: {}}\n---\n"
    for command in ("apply", "diff"):
        assert says in drover(command, "-f", "-", status=2, stdin=good + text if text[:1] != b"\xff" else text).stderr.replace(
            b"document 3", b"document 2")
    assert drover("vm", "list", "--name", "never", parse=True)["items"] == []


def test_files_are_named(drover, tmp_path):  # noqa: F811
    assert b"-f FILE" in drover("apply", status=2).stderr
    assert b"cannot open" in drover("diff", "-f", tmp_path / "none", status=2).stderr
    assert drover("apply", "-f", "-", stdin=b"# nothing\n").stdout == b""
    assert b"kinds are" in drover("export", "van", status=2).stderr
    drover("export", "vm", "nosuch", status=4)


def test_the_example_in_the_documents_works(drover, herd, tmp_path):  # noqa: F811
    text = (Path(__file__).resolve().parents[2] / "docs/command-line.md").read_text(encoding="utf-8")
    example = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)[1].replace("ready: 2", "ready: 0").encode()
    for image in ("ci-base", "debian-12"):
        drover("image", "label", image, "sector")
    assert lines(drover("apply", "-f", "-", stdin=example)) == ["pool/ci created", "vm/web-1 created"]
    drover("vm", "wait", "web-1")
    drover("vm", "stop", "web-1")


def test_a_viewer_exports_all_but_secrets(drover, herd, daemon):  # noqa: F811
    drover("apply", "-f", herd)
    token = drover("token", "create", "v", "--role", "viewer").stdout.decode().strip()
    env = {"DROVER_URL": daemon.url, "DROVER_TOKEN": token}
    done = drover("export", env=env)
    assert b"hidden" not in done.stdout and b"hostname: cattle" not in done.stdout
    assert done.stderr.count(b"may not read its user data") == 2
    assert drover("export", "--no-user-data").stdout == done.stdout
    # Without it, a file still changes nothing but what it names.
    assert {line.split()[1] for line in lines(drover("apply", "-f", "-", stdin=done.stdout))} == {"unchanged"}
    drover("apply", "-f", herd, env=env, status=6)
