"""The guides in docs/ know every word the program may say, and say nothing it does not know."""
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from test_commands import DROVER  # noqa: E402
from validate import ROOT  # noqa: E402

TROUBLE = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
GUIDES = sorted((ROOT / "docs").glob("*.md")) + [ROOT / name for name in ("README.md", "SECURITY.md", "deploy/README.md")]


def words(path, pattern):
    found = set(re.findall(pattern, (ROOT / path).read_text(encoding="utf-8")))
    assert len(found) > 3, path
    return found


def rows_below(heading):
    section = re.split(r"^## ", TROUBLE, flags=re.MULTILINE)
    (text,) = (s for s in section if s.startswith(heading))
    return set(re.findall(r"^\| `([\w-]+)` \|", text, re.MULTILINE))


def test_every_cause_of_missing_kvm_is_explained():
    said = words("service/host/host_kvm.c", r'\bfail\(\w+,\s*"([\w-]+)"')
    assert rows_below("KVM is off") == said


def test_every_reason_why_memory_does_not_merge_is_explained():
    assert rows_below("Memory does not merge") == words("service/vm/ksm_cause.def", r'(?m)^C\(\w+,\s*"([\w-]+)"')


def test_the_problems_and_settings_that_it_names_exist():
    problems = words("service/base/errors.def", r'"([a-z][a-z-]+)"')
    settings = words("service/conf/settings.def", r"(?m)^S\(\w+,\s*(\w+)")
    named = re.findall(r"`([a-z]+(?:-[a-z]+)+)`(?=, 503| \(421\)|\n\(421\)|, with|\n?comes| comes|\))", TROUBLE)
    assert len(named) >= 5 and set(named) <= problems, set(named) - problems
    for name in re.findall(r"`([a-z]+_[a-z_]+)`", TROUBLE):
        assert name in settings | {"guest_agent", "memory_merge", "kvm_intel", "kvm_amd"}, name


@pytest.mark.parametrize("guide", GUIDES, ids=lambda p: p.name)
def test_commands_of_the_guides_exist(guide):
    """`drover WORDS …` in code: its words name a command, its --options are that command's."""
    table = json.loads(subprocess.run([DROVER, "help", "--json"], capture_output=True, check=True, timeout=30).stdout)
    everywhere = {o["name"] for o in table["options"]}
    commands = {c["words"]: {o["name"] for o in c.get("options", [])} for c in table["commands"]}
    text = guide.read_text(encoding="utf-8")
    code = re.findall(r"`([^`\n]+(?:\n[^`\n]+)?)`", text) + re.findall(r"^(?: {4}|)((?:sudo )?(?:build/)?drover .*)$", text, re.MULTILINE)
    for line in code:
        line = re.sub(r"\s+", " ", line)
        for said in re.findall(r"(?:^|sudo |build/|\| )drover ((?:[a-z][\w-]* ?)+)([^|#`]*)", line):
            name = max((c for c in commands if (said[0].strip() + " ").startswith(c + " ")), key=len, default=None)
            if not name and any(c.startswith(said[0].strip() + " ") for c in commands):
                continue # a family of commands, such as `drover vm`
            assert name, (guide.name, line)
            options = set(re.findall(r"(?<!\S)--([a-z][\w-]*)", said[1].split(" -- ")[0]))
            assert options <= commands[name] | everywhere, (guide.name, line, options - commands[name])


# Words after the program's name that are no command: prose, paths, shells' functions, a catalogue's kinds.
PROSE = ("by default", "virt-builder", "plain", "open", "command")


def spoken(path):
    """What a source says to people: its text without comments, a C literal's lines joined."""
    text = path.read_text(encoding="utf-8")
    return re.sub(r'"\s*\n\s*"', "", re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)) if path.suffix == ".c" else text


def test_commands_that_the_programs_advise_exist():
    """Remedies, help, the dashboard and the contract: `drover WORDS` names a command or a family."""
    table = json.loads(subprocess.run([DROVER, "help", "--json"], capture_output=True, check=True, timeout=30).stdout)
    commands = {c["words"] for c in table["commands"]}
    families = {c.rsplit(" ", 1)[0] for c in commands if " " in c}
    sources = [p for folder, suffix in (("service", "c"), ("service", "def"), ("api", "c"), ("web/src", "js"))
               for p in sorted((ROOT / folder).rglob(f"*.{suffix}"))]
    seen = 0
    for path in [*sources, ROOT / "openapi.yaml"]:
        for said in re.findall(r"\bdrover ([a-z][a-z-]*(?: [a-z][a-z-]*)*)(?![\w:/.])", spoken(path)):
            first, two = said.split()[0], " ".join(said.split()[:2])
            seen += 1
            assert first in commands or two in commands | families or said in families or said.startswith(PROSE), (path, said)
    assert seen > 50
