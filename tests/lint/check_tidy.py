#!/usr/bin/python3
"""clang-tidy and cppcheck over the program's sources, from the build's compile commands.

    check_tidy.py ROOT BUILD
"""

import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from lintlib import Report

PROGRAM = ("service", "api", "db")
FINDING = re.compile(r"^([^:\s]+):(\d+):\d+: (?:warning|error): (.*)$")
# What the analyser cannot see across files: see analysis.h.
EXTRA = ["--extra-arg=-include", "--extra-arg=tests/lint/analysis.h", "--extra-arg=-Wno-unused-value"]
DEFINES_THEM = ("service/base/error.c", "service/cli/failure.c")


def commands(root, build):
    """Compile commands of our own .c files outside tests, one for each file, without gcc-only flags."""
    seen = {}
    for entry in json.loads((build / "compile_commands.json").read_text(encoding="utf-8")):
        path = pathlib.Path(os.path.normpath(os.path.join(entry["directory"], entry["file"])))
        if path.suffix == ".c" and path.is_relative_to(root) and path.relative_to(root).parts[0] in PROGRAM:
            seen.setdefault(path, {**entry, "file": str(path)})
    return seen


def tidy_one(root, build, path):
    own = str(path.relative_to(root))
    extra = [] if own in DEFINES_THEM else [arg.replace("tests/", f"{root}/tests/") for arg in EXTRA]
    done = subprocess.run(["clang-tidy", "--quiet", "-p", str(build), *extra, str(path)], capture_output=True, text=True,
                          check=False)
    findings = []
    for line in done.stdout.splitlines():
        if found := FINDING.match(line):
            where = os.path.relpath(os.path.normpath(build / found[1]), root)
            findings.append(f"{where}:{found[2]}: {found[3].replace(',-warnings-as-errors', '')}")
    if done.returncode and not findings:
        findings = [f"{own}: clang-tidy ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-300:]}"]
    return findings


def accepted(root):
    """(path, check) pairs of tests/lint/tidy.accepted, each with its reason."""
    pairs = {}
    for line in (root / "tests/lint/tidy.accepted").read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            path, check, reason = line.split(None, 2)
            pairs[path, check] = reason
    return pairs


def tidy(root, build, paths):
    found, known = set(), accepted(root)
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        for findings in pool.map(lambda path: tidy_one(root, build, path), paths):
            found.update(findings)
    used = {(line.split(":")[0], check) for line in found for check in re.findall(r"\[([\w.,-]+)\]$", line)}
    new = {line for line in found if not any((line.split(":")[0], c) in known for c in re.findall(r"\[([\w.,-]+)\]$", line))}
    stale = (f"tests/lint/tidy.accepted: {path} {check}: not found any more" for path, check in known
             if (path, check) not in used and root / path in paths)
    return sorted(new) + sorted(stale)


def cppcheck(root, build, entries):
    with tempfile.TemporaryDirectory(prefix="drover-lint.") as scratch:
        project = pathlib.Path(scratch) / "compile_commands.json"
        project.write_text(json.dumps(list(entries.values())), encoding="utf-8")
        cache = build / "cppcheck"
        cache.mkdir(exist_ok=True)
        done = subprocess.run(
            ["cppcheck", "--quiet", f"--project={project}", f"--cppcheck-build-dir={cache}", f"-j{os.cpu_count() or 1}",
             "--enable=warning,performance,portability", "--inline-suppr", "--error-exitcode=9",
             "-DSTAILQ_HEAD(n,t)=struct n {struct t *f, **l;}", "-DTAILQ_HEAD(n,t)=struct n {struct t *f, **l;}",
             "-DLIST_HEAD(n,t)=struct n {struct t *f;}",
             f"--suppressions-list={root}/tests/lint/cppcheck.suppressions", "--library=posix",
             "--template={file}:{line}: {severity}: {id}: {message}"],
            capture_output=True, text=True, check=False, cwd=scratch)
    lines = sorted({line.replace(f"{root}/", "") for line in done.stderr.splitlines() if line.strip()})
    if done.returncode not in (0, 9):
        lines.append(f"cppcheck ended with {done.returncode}")
    return lines if done.returncode else []


def main(root, build):
    root, build = pathlib.Path(root).resolve(), pathlib.Path(build).resolve()
    report = Report()
    if not (build / "compile_commands.json").is_file():
        sys.exit(f"{build} is not a configured build directory")
    entries = commands(root, build)
    for tool, title, run in (
            ("clang-tidy", "clang-tidy finds nothing", lambda: tidy(root, build, entries)),
            ("cppcheck", "cppcheck finds nothing", lambda: cppcheck(root, build, entries))):
        if shutil.which(tool):
            report.rule(title, run())
        else:
            report.skip(title, f"{tool} is not installed")
    report.finish()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
