"""drover -o: every listing and every show as a table, JSON, YAML and names."""
import json

import pytest
import yaml
from daemon import eventually
from test_cli import daemon, drover, vm  # noqa: F401

LISTS = ["vm list", "image list", "image labels", "catalogue list", "pool list", "lease list", "token list", "ticket list",
         "recording list", "op list", "events", "set list", "webhook list", "quota show", "whoami", "host history"]
SHOWS = ["vm show pet", "vm timeline pet", "vm addresses pet", "image show sector", "pool show herd", "host show", "ksm",
         "ksm density", "stats", "version --server", "help"]


@pytest.fixture(scope="module", autouse=True)
def things(daemon, tmp_path_factory):  # noqa: F811
    """One of each kind, so that no list is empty."""
    file = tmp_path_factory.mktemp("cli") / "disk"
    file.write_bytes(bytes(1 << 20))
    run = drover.__wrapped__(daemon)
    run("image", "create", "sector", "--format", "raw", "--file", str(file))
    run("image", "label", "base", "sector")
    run("pool", "put", "herd", "--memory", "64", "--ready", "0")
    run("token", "create", "reader", "--role", "viewer")


def shape(value):
    """What stays from one look to the next."""
    if isinstance(value, dict):
        return {k: shape(v) for k, v in value.items()}
    if isinstance(value, list):
        return [shape(v) for v in value]
    return None # a figure moves, and a state may just have been learnt


@pytest.mark.parametrize("command", LISTS + SHOWS)
def test_yaml_says_what_json_says(drover, vm, command):  # noqa: F811
    words = command.split()

    def look():
        """Both, at a moment at which nothing was added: a history grows by the second."""
        before = json.loads(drover(*words, "-o", "json").stdout)
        as_yaml = yaml.safe_load(drover(*words, "-o", "yaml").stdout)
        after = json.loads(drover(*words, "-o", "json").stdout)
        return (before, as_yaml) if shape(before) == shape(after) else None

    as_json, as_yaml = eventually(look, 60)
    assert shape(as_yaml) == shape(as_json) and as_json
    assert as_yaml == as_json or command not in ("image list", "pool list", "token list", "help", "image show sector")
    assert drover(*words, "--json").stdout[:1] == b"{"
    assert not drover(*words, "-o", "table").stdout.startswith(b"{")


@pytest.mark.parametrize("command, expected", [
    ("vm list", ["pet"]), ("vm show pet", ["pet"]), ("image list", ["sector"]), ("image labels", ["base"]),
    ("pool list", ["herd"]), ("pool show herd", ["herd"]), ("recording list", [])])
def test_names_are_alone_on_their_lines(drover, vm, command, expected):  # noqa: F811
    assert drover(*command.split(), "-o", "name").stdout.decode().splitlines() == expected


def test_a_name_is_what_the_next_command_takes(drover, vm):  # noqa: F811
    made = drover("token", "create", "short", "--role", "viewer", "-o", "name")
    assert made.stdout.decode().strip() == [*made.stdout.decode().split()][0] and len(made.stdout) > 20
    ids = drover("token", "list", "-o", "name").stdout.decode().split()
    (short,) = (t["id"] for t in drover("token", "list", parse=True)["items"] if t["name"] == "short")
    assert short in ids
    drover("token", "revoke", short)
    for operation in drover("op", "list", "-o", "name").stdout.decode().split()[:2]:
        assert drover("op", "show", operation, "-o", "name").stdout.decode().strip() == operation
    numbers = [int(n) for n in drover("events", "-o", "name").stdout.split()]
    assert numbers == sorted(numbers) and numbers


def test_a_secret_that_is_shown_once_is_not_lost(drover):  # noqa: F811
    made = drover("webhook", "add", "https://example.org/hook", "--disabled", "-o", "name")
    assert b"shown this once: whsec_" in made.stderr
    assert drover("webhook", "list", "-o", "name").stdout == made.stdout
    drover("webhook", "delete", made.stdout.decode().strip())


def test_what_has_no_name_says_so(drover):  # noqa: F811
    done = drover("ksm", "-o", "name", status=2)
    assert done.stdout == b"" and b"no name" in done.stderr and b"-o json" in done.stderr


def test_a_form_that_there_is_not_is_refused_before_anything_is_done(drover):  # noqa: F811
    done = drover("vm", "create", "never", "-o", "xml", status=2)
    assert b"table, json, yaml or name" in done.stderr
    assert drover("vm", "list", "--name", "never", parse=True)["items"] == []


def test_each_event_is_a_document_of_its_own(drover, vm):  # noqa: F811
    documents = list(yaml.safe_load_all(drover("events", "--limit", "3", "-o", "yaml").stdout))
    assert documents[0]["items"][-1]["seq"]


def test_text_that_looks_like_yaml_stays_text(drover, vm):  # noqa: F811
    for n, text in enumerate(["yes", "012", "- a", "a: b # c", "'\"", "\u2028x", "{}"]):
        drover("vm", "create", f"text-{n}", "--no-vsock", "--description", text)
        try:
            assert yaml.safe_load(drover("vm", "show", f"text-{n}", "-o", "yaml").stdout)["description"] == text
        finally:
            drover("vm", "delete", f"text-{n}")
