#!/usr/bin/python3
"""Counts test cases: passed, failed, skipped.

    count.py FILE...

Understands TAP (*.tap), JUnit XML as pytest writes it (*.xml) and meson's test log (*.json, whose
tests speak TAP themselves). Prints "PASSED FAILED SKIPPED" on stdout, and one line per failed or
skipped case on stderr. A program that ended badly, or ran fewer cases than it planned, counts as a
failed case even if every case that ran passed.
"""

import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field

CASE = re.compile(r"^(not )?ok\b\s*\d*\s*(?:- )?(.*?)\s*(?:#\s*(SKIP|T[O]DO)\b\s*(.*))?$", re.IGNORECASE)
PLAN = re.compile(r"^1\.\.(\d+)\s*(?:#\s*SKIP\b\s*(.*))?$", re.IGNORECASE)


@dataclass
class Count:
    passed: int = 0
    failed: list = field(default_factory=list)
    skipped: list = field(default_factory=list)

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped


def count_tap(text, name):
    """Cases of a TAP document; subtests (indented) are told by their parent's line."""
    count, planned, seen = Count(), None, 0
    for line in text.splitlines():
        if plan := PLAN.match(line):
            planned = int(plan[1])
            if planned == 0:
                count.skipped.append(f"{name}: {plan[2] or 'nothing to run'}")
        elif line.startswith("Bail out!"):
            count.failed.append(f"{name}: {line}")
        elif case := CASE.match(line):
            seen += 1
            title = f"{name}: {case[2]}" if name else case[2]
            if (case[3] or "").upper() == "SKIP":
                count.skipped.append(f"{title}: {case[4]}")
            elif case[1] and not case[3]:
                count.failed.append(title)
            else:
                count.passed += 1
    if planned is None:
        count.failed.append(f"{name}: no plan: it did not run to its end")
    elif planned != seen:
        count.failed.append(f"{name}: {seen} of {planned} cases ran")
    return count


def count_junit(path):
    count = Count()
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        name = f"{case.get('classname')}.{case.get('name')}"
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            count.failed.append(name)
        elif skipped is not None:
            count.skipped.append(f"{name}: {skipped.get('message', '')}")
        else:
            count.passed += 1
    return count


def count_meson(path):
    count = Count()
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            test = json.loads(line)
            name, result = test["name"], test["result"]
            own = Count()
            if re.search(r"^1\.\.\d+", test.get("stdout") or "", re.MULTILINE):
                own = count_tap(test["stdout"], name)
            elif result == "OK":
                own.passed = 1
            elif result == "SKIP":
                own.skipped.append(f"{name}: {last_line(test)}")
            if result not in ("OK", "SKIP", "EXPECTEDFAIL") and not own.failed:
                own.failed.append(f"{name}: {result} (exit status {test.get('returncode')})")
            count.add(own)
    return count


def last_line(test):
    lines = [line for line in (test.get("stdout") or "").splitlines() if line.strip()]
    return lines[-1] if lines else ""


def count_file(path):
    if path.endswith(".xml"):
        return count_junit(path)
    if path.endswith(".json"):
        return count_meson(path)
    with open(path, encoding="utf-8", errors="replace") as file:
        return count_tap(file.read(), "")


def main(paths):
    total = Count()
    for path in paths:
        try:
            total.add(count_file(path))
        except (OSError, ValueError, ElementTree.ParseError) as error:
            total.failed.append(f"{path}: cannot be read: {error}")
    for kind, names in (("failed", total.failed), ("skipped", total.skipped)):
        for name in names:
            print(f"{kind}: {name}", file=sys.stderr)
    print(total.passed, len(total.failed), len(total.skipped))


if __name__ == "__main__":
    main(sys.argv[1:])
