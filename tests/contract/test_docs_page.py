"""The page at /docs: complete, static, and without a request to anywhere else."""
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from validate import ROOT, Contract  # noqa: E402

sys.path.insert(0, str(ROOT / "api/handlers"))
sys.dont_write_bytecode = True
import docs_page  # noqa: E402

CONTRACT = Contract()
PAGE = docs_page.render(CONTRACT.document)
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Scan(HTMLParser):
    def __init__(self):
        super().__init__()
        self.ids, self.links, self.open, self.tags = [], [], [], set()
        self.inline = []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("href", "src"):
                self.links.append(value)
            if name == "style" or name.startswith("on"):
                self.inline.append((tag, name))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()


def scan():
    parser = Scan()
    parser.feed(PAGE)
    assert not parser.open
    return parser


def test_every_operation_and_problem_has_an_anchor():
    ids = set(scan().ids)
    assert {o.id for o in CONTRACT.operations} <= ids
    assert {f"problem-{p['code']}" for p in CONTRACT.document["x-problems"]} <= ids


def test_anchors_are_unique_and_links_lead_somewhere():
    found = scan()
    assert len(found.ids) == len(set(found.ids))
    for link in found.links:
        assert link.startswith("/") or link[1:] in found.ids, link


def test_nothing_is_inline_or_from_elsewhere():
    found = scan()
    assert not found.tags & {"script", "style", "iframe", "object", "img"}
    assert not found.inline
    assert not [link for link in found.links if re.match(r"(?:[a-z]+:)?//", link)]


def test_settings_and_metrics_are_on_it():
    for row in CONTRACT.document["x-settings"] + CONTRACT.document["x-metrics"]:
        assert f"<code>{row['name']}</code>" in PAGE


def test_hostile_text_is_escaped():
    assert docs_page.inline("<b>`<i>`</b>") == "&lt;b&gt;<code>&lt;i&gt;</code>&lt;/b&gt;"
