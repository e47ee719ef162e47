#!/usr/bin/python3
"""The limits that openapi.yaml and the table of settings have: what tests try, and rows of docs/limits.md.

Run as a program it writes those rows into the document.
"""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "limits.md"
LEAST, MOST = ("minimum", "minLength", "minItems", "minProperties"), ("maximum", "maxLength", "maxItems", "maxProperties")
SECTIONS = {"settings": "## Settings", "members": "## Members of requests"}
DEPTH = 4


def is_limited(schema):
    return any(k in schema for k in (*LEAST, *MOST))


def limited(contract, schema, path="", depth=0):
    """(pointer, schema) of everything in it that has a limit; an entry of a list is /0."""
    schema = contract.resolve(schema)
    for several in ("allOf", "anyOf", "oneOf"):
        for part in schema.get(several, ()):
            yield from limited(contract, part, path, depth)
    for name, member in schema.get("properties", {}).items():
        member = contract.resolve(member)
        if is_limited(member):
            yield f"{path}/{name}", member
        if depth < DEPTH:
            yield from limited(contract, member, f"{path}/{name}", depth + 1)
            entry = contract.resolve(member.get("items", {}))
            if is_limited(entry):
                yield f"{path}/{name}/0", entry
            yield from limited(contract, entry, f"{path}/{name}/0", depth + 1)


def body_schema(contract, operation):
    content = contract.resolve(operation.node.get("requestBody", {})).get("content", {})
    return next((m["schema"] for kind, m in content.items() if "json" in kind), None)


def members(contract):
    """{(pointer, least, most): [operation]}"""
    found = {}
    for operation in contract.operations:
        schema = body_schema(contract, operation)
        for pointer, member in limited(contract, schema) if schema else ():
            limits = [next((str(member[k]) for k in keys if k in member), "") for keys in (LEAST, MOST)]
            where = found.setdefault((pointer[1:], *limits), [])
            if operation.id not in where:
                where.append(operation.id)
    return found


def settings():
    """(name, default, least, most) of those that are numbers."""
    text = (ROOT / "service" / "conf" / "settings.def").read_text(encoding="utf-8")
    return re.findall(r"^S\(INT, +(\w+), (-?\d+), (-?\d+), (-?\d+),", text, re.M)


def rows(contract):
    """By section, as the document has them."""
    return {"settings": [f"| `{n}` | {d} | {low} | {high} |" for n, d, low, high in settings()],
            "members": [f"| `{pointer}` | {low} | {high} | {', '.join(where)} |"
                        for (pointer, low, high), where in sorted(members(contract).items())]}


def table_of(text, heading):
    """(begin, end) of the rows below a heading's table head."""
    begin = text.index("\n", re.compile(r"^\| --- .*$", re.M).search(text, text.index(heading)).start()) + 1
    return begin, begin + re.compile(r"(?:\|[^\n]*\n)*").match(text[begin:]).end()


def main():
    sys.path.insert(0, str(ROOT / "tests" / "contract"))
    from validate import Contract
    text = DOCUMENT.read_text(encoding="utf-8")
    for name, made in rows(Contract()).items():
        begin, end = table_of(text, SECTIONS[name])
        text = text[:begin] + "".join(row + "\n" for row in made) + text[end:]
    DOCUMENT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
