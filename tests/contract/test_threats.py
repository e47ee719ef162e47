"""The table of SECURITY.md: every threat has a place that stops it and a test that shows it, and both exist."""
import re

import pytest
from validate import ROOT

TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in TEXT.splitlines() if line.startswith("| TM-")]
DEFINITION = {"py": "def {}(", "c": "TEST({})", "mjs": "{}'", "sh": "{}()"}


def test_each_threat_has_one_row_in_order():
    assert [row[0] for row in ROWS] == [f"TM-{n:02}" for n in range(1, 36)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_what_stops_it_and_what_shows_it_exist(row):
    _, _, places, shown = row
    for place in re.findall(r"`((?:service|api|db|web|deploy)/[^`]*)`", places):
        assert (ROOT / place).exists(), place
    tests = re.findall(r"`([^`]*)`", shown)
    assert tests and places
    for test in tests:
        file, _, name = test.partition("::")
        text = (ROOT / "tests" / file).read_text(encoding="utf-8")
        suffix = file.rsplit(".", 1)[1]
        found = DEFINITION[suffix].format(name) in text or suffix == "mjs" and f"{name}`" in text
        assert name and found, f"there is no {test}"
