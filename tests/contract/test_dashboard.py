"""The dashboard can do what the API can: each operation of openapi.yaml has a control, or a reason why not."""
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from controls import CONTROLS, NO_CONTROL  # noqa: E402
from validate import ROOT, Contract  # noqa: E402

OPERATIONS = {operation.id: operation for operation in Contract().operations}
SOURCES = ROOT / "web" / "src"
STREAMS = (SOURCES / "lib/streams.js").read_text(encoding="utf-8")  # the addresses of sockets are made there


def bare(text):
    """As it is compared: how a line is broken says nothing."""
    return re.sub(r"\s+", "", text)


def last_word(path):
    """The last part of an address that is no parameter; None for the root."""
    return next((part for part in reversed(path.strip("/").split("/")) if part and not part.startswith("{")), None)


def test_every_operation_has_a_control_or_a_reason_why_not():
    """A new operation fails here until tests/support/controls.py says where a person finds it."""
    assert not set(CONTROLS) & set(NO_CONTROL)
    assert set(OPERATIONS) - set(CONTROLS) - set(NO_CONTROL) == set(), "operations without a row"
    assert set(CONTROLS) | set(NO_CONTROL) == set(OPERATIONS), "rows without an operation"
    assert all(NO_CONTROL.values())


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if o in CONTROLS])
def test_the_control_is_in_the_sources(operation):
    file, words = CONTROLS[operation]
    text = (SOURCES / file).read_text(encoding="utf-8")
    assert bare(words) in bare(text), f"web/src/{file} does not say {words}"
    word = last_word(OPERATIONS[operation].path)
    assert word in text or word in STREAMS, f"web/src/{file} never says {word}"


def test_reasons_are_no_excuses():
    """What is said to have no control is asked for nowhere: else its row belongs to the others."""
    text = bare("".join(p.read_text(encoding="utf-8") for p in sorted(SOURCES.rglob("*.js"))))
    for operation in NO_CONTROL:
        node = OPERATIONS[operation]
        if "{" not in node.path and node.path != "/":
            assert f"'{node.path}'" not in text, operation


def test_controls_write_with_the_verb_of_their_operation():
    """`del` for DELETE and so on, where the words of a row name the client's function."""
    verbs = {"get": "GET", "listAll": "GET", "post": "POST", "del": "DELETE", "upload": "PUT"}
    for operation, (_, words) in CONTROLS.items():
        called = re.match(r"(get|listAll|post|del|upload)\(", words)
        named = re.match(r"request\('(\w+)'", words)
        if called or named:
            method = verbs[called[1]] if called else named[1]
            assert method == OPERATIONS[operation].method.upper(), operation
