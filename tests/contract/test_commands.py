"""The command's tables against openapi.yaml."""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from validate import ROOT, Contract  # noqa: E402

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
    assert {d["kind"] for d in table["definitions"]} >= {"vm", "pool", "label"}
    for definition in table["definitions"]:
        own = {m for m in definition["members"] if "." not in m}
        assert own == sent(definition["schema"]) - {"name"}, definition["kind"]
        for hidden in (m for m in definition["members"] if "." in m):
            assert hidden.split(".")[1] in sent("VmDefinition")
