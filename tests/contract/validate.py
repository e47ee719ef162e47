#!/usr/bin/python3
"""Recorded exchanges against openapi.yaml.

    validate.py RECORD.jsonl...     prints what is wrong and which operations were not exercised

An exchange is {method, path, status, headers: [[name, value]], body: text or null}. Needs only
PyYAML and jsonschema (Debian: python3-yaml, python3-jsonschema).
"""
import json
import re
import sys
from pathlib import Path
from urllib.parse import urlsplit

import jsonschema
import yaml

ROOT = Path(__file__).resolve().parents[2]
METHODS = ("get", "post", "put", "patch", "delete")
PROBLEM = "application/problem+json"


class Operation:
    def __init__(self, path, method, node):
        self.path, self.method, self.node = path, method.upper(), node
        self.id = node["operationId"]
        pattern = "".join("[^/]+" if part.startswith("{") else re.escape(part)
                          for part in re.split(r"(\{[^}]+\})", path))
        self.pattern = re.compile(pattern + r"\Z")
        self.literals = len(re.sub(r"\{[^}]+\}", "", path))


class Contract:
    def __init__(self, path=ROOT / "openapi.yaml"):
        self.document = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
        self.operations = [Operation(p, m, item[m]) for p, item in self.document["paths"].items()
                           for m in METHODS if m in item]
        self.general = set(self.document["x-general-problems"])
        self._validators = {}

    def resolve(self, node):
        while isinstance(node, dict) and "$ref" in node:
            target = self.document
            for part in node["$ref"][2:].split("/"):
                target = target[part.replace("~1", "/").replace("~0", "~")]
            node = target
        return node

    def find(self, method, path):
        """The operation that answers, or None. Literal segments win over parameters."""
        method = "GET" if method == "HEAD" else method
        found = [o for o in self.operations if o.method == method and o.pattern.match(path)]
        return max(found, key=lambda o: o.literals, default=None)

    def schema_errors(self, schema, value):
        key = json.dumps(schema, sort_keys=True)
        if key not in self._validators:
            # With the components beside it, a schema's own references resolve in place.
            whole = {**schema, "components": {"schemas": self.document["components"]["schemas"]}}
            self._validators[key] = jsonschema.Draft202012Validator(whole)
        for error in self._validators[key].iter_errors(value):
            where = "/".join(str(p) for p in error.absolute_path)
            yield f"/{where}: {error.message[:300]}"

    def problem_codes(self, operation):
        """Every code the operation lists."""
        return {code for response in operation.node["responses"].values()
                for code in self.resolve(response).get("x-problems", ())}

    # ---- one exchange ----

    def check(self, exchange):
        """What is wrong with the exchange, as a list of sentences."""
        operation = self.find(exchange["method"], urlsplit(exchange["path"]).path)
        headers = {name.lower(): value for name, value in exchange["headers"]}
        kind = headers.get("content-type", "").split(";")[0].strip().lower()
        if kind == PROBLEM:
            errors = list(self._check_problem(operation, exchange, headers))
        elif operation is None:
            errors = ["there is no such operation, and the answer is not a problem"]
        else:
            errors = list(self._check_answer(operation, exchange, kind))
        if exchange["status"] != 101 and not headers.get("x-request-id"):
            errors.append("X-Request-Id is missing")
        name = operation.id if operation else "(none)"
        return [f"{exchange['method']} {exchange['path']} -> {exchange['status']} ({name}): {e}" for e in errors]

    def _check_problem(self, operation, exchange, headers):
        status, head = exchange["status"], exchange["method"] == "HEAD"
        if head:
            return
        try:
            problem = json.loads(exchange["body"] or "")
        except ValueError as error:
            yield f"the problem is not JSON: {error}"
            return
        schema_errors = list(self.schema_errors({"$ref": "#/components/schemas/Problem"}, problem))
        yield from schema_errors
        if schema_errors:
            return
        code = problem["code"]
        if problem["status"] != status:
            yield f"the problem says {problem['status']}"
        if problem["type"] != f"/problems/{code}":
            yield f"the type {problem['type']} does not belong to {code}"
        if problem.get("instance") != f"urn:drover:request:{headers.get('x-request-id')}":
            yield f"instance {problem.get('instance')} is not this request's id"
        row = next(p for p in self.document["x-problems"] if p["code"] == code)
        if row["status"] != status or row["title"] != problem["title"]:
            yield f"status or title is not that of {code}"
        if code in self.general:
            return
        if operation is None:
            yield f"{code} at an address that does not exist"
            return
        response = self.resolve(operation.node["responses"].get(str(status), {}))
        if code not in response.get("x-problems", ()):
            yield f"{code} is not listed"

    def _check_answer(self, operation, exchange, kind):
        status, body = exchange["status"], exchange["body"]
        response = self.resolve(operation.node["responses"].get(str(status)))
        if response is None:
            yield "the status is not documented"
            return
        content = response.get("content")
        if not content:
            if body:
                yield "there is a body, and none is documented"
            return
        if exchange["method"] == "HEAD":
            return
        media = content.get(kind) or content.get("*/*")
        if media is None:
            yield f"content type {kind or '(none)'} is not documented"
            return
        if kind != "application/json" or "schema" not in media:
            return
        try:
            value = json.loads(body)
        except (TypeError, ValueError) as error:
            yield f"the body is not JSON: {error}"
            return
        yield from self.schema_errors(media["schema"], value)


class Coverage:
    """Which operations were exercised, and which of them ever succeeded."""

    def __init__(self, contract):
        self.contract = contract
        self.statuses = {o.id: set() for o in contract.operations}

    def add(self, exchange):
        operation = self.contract.find(exchange["method"], urlsplit(exchange["path"]).path)
        if operation:
            self.statuses[operation.id].add(exchange["status"])

    def missing(self):
        return sorted(i for i, seen in self.statuses.items() if not seen)

    def never_succeeded(self):
        return sorted(i for i, seen in self.statuses.items() if not any(s < 400 for s in seen))


def read_record(path):
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def main(paths):
    contract = Contract()
    coverage = Coverage(contract)
    wrong = count = 0
    for path in paths:
        for exchange in read_record(path):
            count += 1
            coverage.add(exchange)
            for error in contract.check(exchange):
                wrong += 1
                print(error)
    print(f"{count} exchanges, {wrong} errors; not exercised: {', '.join(coverage.missing()) or 'none'}; "
          f"never succeeded: {', '.join(coverage.never_succeeded()) or 'none'}")
    return 1 if wrong or coverage.missing() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
