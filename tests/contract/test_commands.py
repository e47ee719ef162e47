"""The command's tables against openapi.yaml."""
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from validate import ROOT, Contract  # noqa: E402
from verbs import BROWSERS, VERBS  # noqa: E402

CONTRACT = Contract()
SCHEMAS = CONTRACT.document["components"]["schemas"]
DROVER = Path(os.environ.get("DROVER_BUILD", ROOT / "build")) / "drover"

pytestmark = pytest.mark.skipif(not DROVER.exists(), reason=f"{DROVER} is not built")


@pytest.fixture(scope="module")
def table():
    done = subprocess.run([DROVER, "help", "--json"], capture_output=True, check=True, timeout=30)
    return json.loads(done.stdout)


def sent(schema):
    """The members of what a definition is sent as: a schema's name, or an operation's id."""
    if schema not in SCHEMAS:
        (operation,) = (o for o in CONTRACT.operations if o.id == schema)
        node = operation.node["requestBody"]["content"]["application/json"]["schema"]
    else:
        node = SCHEMAS[schema]
    members = set(node.get("properties", {}))
    for part in node.get("allOf", []):
        members |= sent(part["$ref"].rsplit("/", 1)[1])
    return members


def test_definitions_have_the_members_that_the_server_takes(table):
    """Else apply would refuse what is new, and export would lose it without a word."""
    assert {d["kind"] for d in table["definitions"]} >= {"vm", "pool", "label", "set", "image", "project", "webhook"}
    for definition in table["definitions"]:
        own = {m for m in definition["members"] if "." not in m}
        taken = sent(definition["schema"]) | (sent(definition["changes"]) if "changes" in definition else set())
        assert own == taken - {"name"}, definition["kind"]
        for hidden in (m for m in definition["members"] if "." in m):
            assert hidden.split(".")[1] in sent("VmDefinition")


def words_of(table, line):
    """The command that a command line names: the longest that its words begin with."""
    words = line.split()
    found = [c["words"] for c in table["commands"] if words[:len(c["words"].split())] == c["words"].split()]
    return max(found, key=len, default=None)


def test_every_operation_has_a_command_or_a_reason_why_not(table):
    """A new operation fails here until tests/support/verbs.py says how a person calls it."""
    operations = {o.id for o in CONTRACT.operations}
    assert not set(VERBS) & set(BROWSERS)
    assert operations - set(VERBS) - set(BROWSERS) == set(), "operations without a command"
    assert set(VERBS) | set(BROWSERS) == operations, "commands for operations that there are not"
    for operation, line in VERBS.items():
        assert words_of(table, line), (operation, line)
    assert all(BROWSERS.values())


def test_exit_statuses_are_told_in_one_place(table):
    numbers = [e["code"] for e in table["exit_status"]]
    assert numbers == sorted(set(numbers)) and numbers[0] == 0 and all(e["meaning"] for e in table["exit_status"])
    shown = subprocess.run([DROVER, "help"], capture_output=True, check=True, timeout=30, text=True).stdout
    generate = [sys.executable, ROOT / "deploy/man/generate.py", "--drover", DROVER, "--out"]
    with tempfile.TemporaryDirectory() as out:
        subprocess.run([*generate, out], check=True, timeout=60)
        page = (Path(out) / "drover.1").read_text(encoding="utf-8").replace("\\-", "-")
    for status in table["exit_status"]:
        assert status["meaning"] in shown and status["meaning"] in page
    for command in table["commands"]:
        assert command["words"] in page and command["words"] in shown
    for variable in table["environment"]:
        assert variable["name"] in page and variable["name"] in shown
