#!/usr/bin/python3
"""What is not C: shell scripts, Python files, systemd units, manual pages.

    check_files.py [ROOT]
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile

from lintlib import Report, read, tracked


def scripts(root):
    for path in tracked(root):
        if path.suffix == ".sh":
            yield path
        elif not path.suffix and (pathlib.Path(root) / path).stat().st_mode & 0o111:
            first = read(root, path).split("\n", 1)[0]
            if first.startswith("#!") and first.split("/")[-1].split()[-1] in ("sh", "bash", "dash"):
                yield path


def shellcheck(root):
    for path in scripts(root):
        done = subprocess.run(["shellcheck", "-x", "-f", "gcc", str(path)], cwd=root, capture_output=True, text=True,
                              check=False)
        yield from done.stdout.splitlines()


def python(root):
    for path in tracked(root, ".py"):
        try:
            compile(read(root, path), str(path), "exec")
        except SyntaxError as error:
            yield f"{path}:{error.lineno}: {error.msg}"


def units(root):
    paths = [str(pathlib.Path(root).resolve() / p) for p in tracked(root, ".service", ".socket", ".target")]
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *paths], capture_output=True, text=True, check=False)
    for line in done.stderr.splitlines():
        if "is not executable: No such file" not in line and any(pathlib.Path(p).name in line for p in paths):
            yield line


def manual(root):
    """Pages come out of the generator, and groff has nothing to say about them."""
    root = pathlib.Path(root).resolve()
    with tempfile.TemporaryDirectory(prefix="drover-man.") as out:
        made = subprocess.run([root / "deploy/man/generate.py", "--out", out], capture_output=True, text=True, check=False)
        if made.returncode:
            yield made.stderr.strip()
        for page in sorted(pathlib.Path(out).iterdir()):
            done = subprocess.run(["groff", "-man", "-ww", "-z", "-Tutf8", page], capture_output=True, text=True, check=False)
            yield from (line.replace(out, "") for line in done.stderr.splitlines())


def main(root):
    report = Report()
    if shutil.which("shellcheck"):
        report.rule("shellcheck finds nothing", shellcheck(root))
    else:
        report.skip("shellcheck finds nothing", "shellcheck is not installed")
    report.rule("Python files compile", python(root))
    for tool, title, check in (("systemd-analyze", "systemd accepts the units", units),
                               ("groff", "the manual pages are well-formed", manual)):
        if shutil.which(tool):
            report.rule(title, check(root))
        else:
            report.skip(title, f"{tool} is not installed")
    report.finish()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else ".")
