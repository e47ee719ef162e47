"""The tables in the program against openapi.yaml, both ways."""
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from validate import ROOT, Contract  # noqa: E402

CONTRACT = Contract()
DOCUMENT = CONTRACT.document
DROVERD = Path(os.environ.get("DROVER_BUILD", ROOT / "build")) / "droverd"


def dump(table):
    if not DROVERD.exists():
        # meson puts the program below service/ when it is not moved to the top
        pytest.skip(f"{DROVERD} is not built")
    done = subprocess.run([DROVERD, "--dump", table], capture_output=True, text=True, check=True, timeout=30)
    return json.loads(done.stdout)


def test_routes_are_the_operations_in_the_same_order():
    code = [(r["method"], r["path"], r["operation_id"], r["scope"]) for r in dump("routes")]
    document = [(o.method, o.path, o.id, o.node["x-scope"]) for o in CONTRACT.operations]
    assert code == document


def test_bodies_and_uploads_are_where_the_document_says():
    kinds = {o.id: set(o.node.get("requestBody", {}).get("content", {})) for o in CONTRACT.operations}
    for route in dump("routes"):
        kind = kinds[route["operation_id"]]
        assert route["upload"] == ("application/octet-stream" in kind), route["operation_id"]
        assert route["body"] == ("application/json" in kind), route["operation_id"]


def test_upgrades_are_where_the_document_says():
    upgrades = {o.id for o in CONTRACT.operations if "101" in o.node["responses"]}
    assert {r["operation_id"] for r in dump("routes") if r["upgrade"]} == upgrades


def test_errors_are_the_problems():
    code = [(e["code"], e["status"], e["title"], e["retry"]) for e in dump("errors")]
    document = [(p["code"], p["status"], p["title"], p["retry"]) for p in DOCUMENT["x-problems"]]
    assert code == document


def test_settings_are_the_documented_ones():
    assert [s["name"] for s in dump("settings")] == [s["name"] for s in DOCUMENT["x-settings"]]
    for code, document in zip(dump("settings"), DOCUMENT["x-settings"]):
        assert {**code, "description": code["description"] + "."} == document


def test_metrics_are_the_documented_ones():
    code = [{**m, "labels": m["labels"].split()} for m in dump("metrics")]
    assert code == DOCUMENT["x-metrics"]


def test_unknown_table_is_refused():
    if not DROVERD.exists():
        pytest.skip(f"{DROVERD} is not built")
    assert subprocess.run([DROVERD, "--dump", "nothing"], capture_output=True, check=False, timeout=30).returncode != 0


def test_scopes_are_those_of_the_access_table():
    used = {r["scope"] for r in dump("routes")} - {"any", "none"}
    assert used <= set(DOCUMENT["components"]["schemas"]["Scope"]["enum"])


def test_ksm_names_are_the_kernels():
    text = (ROOT / "service/host/ksm.def").read_text(encoding="utf-8")
    rows = re.findall(r"^K\((\w+),\s*(\w+),", text, re.M)
    schemas = DOCUMENT["components"]["schemas"]
    assert [n for n, k in rows if k == "KNOB"] == list(schemas["KsmKnobs"]["properties"])
    assert [n for n, k in rows if k != "KNOB"] == list(schemas["Ksm"]["properties"]["counters"]["properties"])


def test_vm_states_are_those_of_the_state_table():
    text = (ROOT / "service/vm/vm_states.def").read_text(encoding="utf-8")
    names = set(re.findall(r'^V\(\w+,\s*"([a-z]+)"\)', text, re.M))
    assert names == set(DOCUMENT["components"]["schemas"]["VmState"]["enum"])
