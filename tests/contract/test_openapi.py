"""openapi.yaml by itself: well-formed, closed, complete, with examples that fit."""
import re
import sys
from pathlib import Path

import jsonschema
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from validate import PROBLEM, Contract  # noqa: E402

CONTRACT = Contract()
DOCUMENT = CONTRACT.document
OPERATIONS = {o.id: o for o in CONTRACT.operations}
# Schemas that others are built on with allOf; those others are closed.
OPEN = {"VmDefinition", "VmObject", "TokenObject", "WebhookObject", "TicketObject", "ImageObject",
        "DensitySum", "SetDefinition", "SetMachine", "SetObject"}
SCOPES = set(DOCUMENT["components"]["schemas"]["Scope"]["enum"])


def walk(node, path=""):
    yield path, node
    if isinstance(node, dict):
        for key, value in node.items():
            yield from walk(value, f"{path}/{key}")
    elif isinstance(node, list):
        for i, value in enumerate(node):
            yield from walk(value, f"{path}/{i}")


def responses(operation):
    for status, response in operation.node["responses"].items():
        yield status, CONTRACT.resolve(response)


def test_is_openapi_3_1():
    assert re.fullmatch(r"3\.1\.\d+", DOCUMENT["openapi"])
    assert DOCUMENT["info"]["title"] and DOCUMENT["info"]["version"]
    assert set(DOCUMENT) <= {"openapi", "jsonSchemaDialect", "info", "servers", "security", "tags", "paths",
                             "components"} | {k for k in DOCUMENT if k.startswith("x-")}


def test_every_reference_resolves():
    for path, node in walk(DOCUMENT):
        if isinstance(node, dict) and "$ref" in node:
            assert node["$ref"].startswith("#/"), path
            try:
                CONTRACT.resolve(node)
            except KeyError:
                pytest.fail(f"{path}: {node['$ref']} does not exist")


def test_every_component_is_used():
    used = {n["$ref"] for _, n in walk(DOCUMENT) if isinstance(n, dict) and "$ref" in n}
    for kind in ("parameters", "headers", "schemas", "responses", "examples"):
        for name in DOCUMENT["components"][kind]:
            reference = f"#/components/{kind}/{name}"
            general = name.startswith("problem-") or name in DOCUMENT["x-general-problems"]
            assert reference in used or general, f"{reference} is not used"


@pytest.mark.parametrize("name", sorted(DOCUMENT["components"]["schemas"]))
def test_schema_is_valid_and_closed(name):
    schema = DOCUMENT["components"]["schemas"][name]
    jsonschema.Draft202012Validator.check_schema(schema)
    for path, node in walk(schema, name):
        if not isinstance(node, dict) or "properties" not in node or path.endswith("/properties"):
            continue
        if path in OPEN:
            continue
        assert node.get("additionalProperties") is False or node.get("unevaluatedProperties") is False, path


def test_operation_ids_are_unique():
    assert len(OPERATIONS) == len(CONTRACT.operations)


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS.keys())
class TestOperation:
    def test_is_described(self, operation):
        node = operation.node
        assert node["summary"] and not node["summary"].endswith(".")
        assert len(node["description"]) > 20
        assert len(node["tags"]) == 1 and node["tags"][0] in {t["name"] for t in DOCUMENT["tags"]}

    def test_scope_and_security_agree(self, operation):
        scope = operation.node["x-scope"]
        assert scope in SCOPES | {"any", "none"}
        assert (scope == "none") == (operation.node.get("security") == [])
        codes = CONTRACT.problem_codes(operation)
        if scope != "none":
            assert {"unauthenticated", "forbidden"} <= codes

    def test_parameters_match_the_path(self, operation):
        item = DOCUMENT["paths"][operation.path]
        parameters = [CONTRACT.resolve(p) for p in item.get("parameters", []) + operation.node.get("parameters", [])]
        in_path = {p["name"] for p in parameters if p["in"] == "path"}
        assert in_path == set(re.findall(r"\{([^}]+)\}", operation.path))
        for parameter in parameters:
            assert parameter["description"] and parameter["schema"]
            assert parameter["in"] != "path" or parameter["required"] is True

    def test_has_an_answer_that_is_not_an_error(self, operation):
        assert any(int(status) < 400 for status, _ in responses(operation))

    def test_problems_have_the_status_they_are_listed_under(self, operation):
        statuses = {p["code"]: p["status"] for p in DOCUMENT["x-problems"]}
        for status, response in responses(operation):
            assert response["description"]
            for code in response.get("x-problems", ()):
                assert statuses[code] == int(status), f"{code} under {status}"
            if int(status) >= 400:
                assert response["x-problems"] and PROBLEM in response["content"]

    def test_examples_fit_their_schemas(self, operation):
        places = [(f"{s}", r["content"]) for s, r in responses(operation) if "content" in r]
        if "requestBody" in operation.node:
            places.append(("request", operation.node["requestBody"]["content"]))
        for place, content in places:
            for kind, media in content.items():
                values = [media["example"]] if "example" in media else [
                    CONTRACT.resolve(e)["value"] for e in media.get("examples", {}).values()]
                assert values, f"{place} {kind} has no example"
                for value in values:
                    errors = list(CONTRACT.schema_errors(media["schema"], value))
                    assert not errors, f"{place} {kind}: {errors}"


def test_problems_are_described():
    codes = [p["code"] for p in DOCUMENT["x-problems"]]
    assert codes == DOCUMENT["components"]["schemas"]["ProblemCode"]["enum"]
    assert set(DOCUMENT["x-general-problems"]) <= set(codes)
    for problem in DOCUMENT["x-problems"]:
        assert len(problem["description"]) > 25, problem["code"]
        assert f"problem-{problem['code']}" in DOCUMENT["components"]["examples"]


def test_every_problem_can_be_met():
    """Each is listed somewhere, is general, or says where else it shows up."""
    listed = {c for o in CONTRACT.operations for c in CONTRACT.problem_codes(o)} | set(DOCUMENT["x-general-problems"])
    elsewhere = {"bad-configuration", "set-incomplete"}  # a start that is refused; the error of an operation
    assert {p["code"] for p in DOCUMENT["x-problems"]} == listed | elsewhere
