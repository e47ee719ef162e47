#!/usr/bin/python3
"""Mutation testing: one small mistake at a time in the code that guards most, and do the tests notice?

    mutate.py WORK-DIR [--seed N] [--mutants N] [--area lease] ...

Works on a clone of the committed tree in WORK-DIR, with a build of its own. A mistake that does not compile, or
whose object file is the same as without it, is drawn anew. Prints each mutant's fate, and the share that was
noticed; survivors are to be looked at by a person: some change nothing that anybody could see."""
import argparse
import json
import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# area: sources; tests of meson by name; files beside tests/integration. In this order: the quick ones first.
AREAS = {
    "lease": (["service/vm/lease*.c"], [],
              ["test_leases.py", "../fault/test_leases.py", "test_idempotency.py",
               "test_quotas.py", "test_projects.py"]),
    "xml": (["service/virt/domxml*.c"], ["domxml", "domxml_bounds", "domxml_clone", "fuzz_domxml", "fuzz_domxml_clone", "fuzz_domxml_read", "virt_driver"],
            ["test_vms.py", "test_lifecycle.py"]),
    "inspector": (["service/vm/image_inspect.c"], ["image inspect", "fuzz_image_inspect", "image store"],
                  ["test_image_hostile.py", "test_images.py"]),
    "auth": (["service/vm/access*.c", "api/http_auth.c"], ["access", "access_rest", "access_sessions", "access_tickets"],
             ["test_access.py", "test_tickets.py", "test_access_matrix.py", "test_secrets.py", "test_limits.py"]),
}
SWAPS = [(r"==", "!="), (r"!=", "=="), (r"(?<![<\-])<(?![<=])", "<="), (r"<=", "<"), (r"(?<![>\-])>(?![>=])", ">="),
         (r">=", ">"), (r"&&", "||"), (r"\|\|", "&&"), (r" \+ ", " - "), (r" - ", " + "), (r"\btrue\b", "false"),
         (r"\bfalse\b", "true"), (r"\breturn 0;", "return -1;"), (r"\breturn -1;", "return 0;"), (r"\b1000\b", "1001"),
         (r"if \(!(?=\w)", "if ("), (r"if \((?=\w)", "if (!"), (r"(?m)^ +(?!return|goto|break|else|case|auto)[a-z]\w+\([^;{}]*\);$", ";")]
SANITIZERS = {"ASAN_OPTIONS": "abort_on_error=1:detect_stack_use_after_return=1:strict_string_checks=1",
              "UBSAN_OPTIONS": "halt_on_error=1:abort_on_error=1:print_stacktrace=1"}
LIMIT = 600  # seconds for the tests of one mutant


def masked(text):
    """The same length, with blanks where comments, texts and what the preprocessor reads were."""
    pattern = r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|^#(?:\\\n|[^\n])*'
    return re.sub(pattern, lambda m: re.sub(r"[^\n]", " ", m[0]), text, flags=re.S | re.M)


def places(text):
    """[(begin, end, instead)] of everything that could be mistaken, within functions."""
    code, found = masked(text), []
    for pattern, instead in SWAPS:
        for match in re.finditer(pattern, code):
            line = code[code.rfind("\n", 0, match.start()) + 1:match.end()]
            if line.startswith((" ", "\t")):
                found.append((match.start(), match.end(), instead))
    return found


def run(*command, **more):
    return subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False, **more)


class Tree:
    def __init__(self, work, areas, units):
        self.source, self.build = work / "tree", work / "tree" / "build"
        if not self.source.exists():
            subprocess.run(["git", "clone", "-q", ROOT, self.source], check=True)
            # With what sees a leak and an element too far, as in the ordinary run.
            subprocess.run(["meson", "setup", "-Doptimization=0", "-Db_sanitize=address,undefined", "-Db_lundef=false",
                            self.build, self.source], check=True, stdout=subprocess.DEVNULL)
        self.areas = AREAS if not units else {
            area: (sources, tests, []) for area, (sources, tests, _) in AREAS.items() if tests}
        told = run("meson", "introspect", "--tests", self.build).stdout
        programs = {t["name"]: os.path.relpath(t["cmd"][0], self.build) for t in json.loads(told)}
        self.targets = [] if units else ["droverd", "drover"]
        self.targets += sorted({programs[unit] for area in areas for unit in AREAS[area][1]})
        done = self.make()
        assert done.returncode == 0, done.stdout[-3000:]

    def make(self):
        return run("ninja", "-j2", "-C", self.build, *self.targets)

    def object_of(self, file):
        """None: nothing that is built has it."""
        found = [o for o in self.build.rglob(f"*{file.name}.o") if o.name == f"{file.name}.o" or o.name.endswith(f"_{file.name}.o")]
        return found[0].read_bytes() if found else None

    def tests(self, area):
        """The name of the first that fails, or None."""
        _, units, files = self.areas[area]
        env = {**os.environ, **SANITIZERS, "DROVER_BUILD": str(self.build), "DROVER_RELEASE_BUILD": str(self.build)}
        if units:
            try:
                done = run("meson", "test", "-C", self.build, "--no-rebuild", *units, timeout=LIMIT, env=env)
            except subprocess.TimeoutExpired:
                return "a unit test that does not end"
            if done.returncode:
                return re.search(r"(\S+) +(?:FAIL|ERROR|TIMEOUT)", done.stdout)[1] if re.search(
                    r"(\S+) +(?:FAIL|ERROR|TIMEOUT)", done.stdout) else "a unit test"
        for file in files:
            try:
                done = run(sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider",
                           self.source / "tests/integration" / file, env=env, cwd=self.source, timeout=LIMIT)
            except subprocess.TimeoutExpired:
                return f"{file} does not end"
            if done.returncode:
                failed = re.search(r"^(?:FAILED|ERROR) \S*?([^/\s]+::\S+)", done.stdout, re.M)
                return failed[1] if failed else file
        return None


def mutant(tree, area, rng):
    """Draws until one compiles and differs: (file, line, what was, what is, text before); it is in the tree."""
    files = sorted(f for pattern in AREAS[area][0] for f in tree.source.glob(pattern) if tree.object_of(f))
    weights = [len(places(f.read_text())) for f in files]
    while True:
        file = rng.choices(files, weights)[0]
        text = file.read_text()
        begin, end, instead = rng.choice(places(text))
        plain = tree.object_of(file)
        file.write_text(text[:begin] + instead + text[end:])
        if tree.make().returncode == 0 and tree.object_of(file) != plain:
            line = text.count("\n", 0, begin) + 1
            return file, line, text.splitlines()[line - 1].strip(), text[begin:end].strip(), instead, text
        file.write_text(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mutants", type=int, default=10, help="in each area")
    parser.add_argument("--area", action="append", choices=AREAS)
    parser.add_argument("--units", action="store_true", help="C tests only: seconds for each, and a lower bound")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    tree, score = Tree(options.work.resolve(), options.area or AREAS, options.units), {}
    for area in [area for area in options.area or AREAS if area in tree.areas]:
        fault = tree.tests(area)
        assert not fault, f"without any mistake {fault} fails"
        rng, score[area] = random.Random(f"{options.seed} {area}"), [0, 0]
        for _ in range(options.mutants):
            file, line, whole, was, now, text = mutant(tree, area, rng)
            began = time.monotonic()
            try:
                noticed = tree.tests(area)
            finally:
                file.write_text(text)
            score[area][noticed is None] += 1
            print(f"{area}: {file.relative_to(tree.source)}:{line}: {was} -> {now}: "
                  f"{'noticed by ' + noticed if noticed else 'SURVIVED in ' + whole} ({time.monotonic() - began:.0f} s)", flush=True)
        tree.make()
    for area, (noticed, survived) in score.items():
        print(f"{area}: {noticed} of {noticed + survived} noticed ({100 * noticed / (noticed + survived):.0f} %)")


main()
