#!/usr/bin/python3
"""shellcheck over every shell script, and Python files that do not compile.

    check_shell.py [ROOT]
"""

import pathlib
import shutil
import subprocess
import sys

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


def main(root):
    report = Report()
    if shutil.which("shellcheck"):
        report.rule("shellcheck finds nothing", shellcheck(root))
    else:
        report.skip("shellcheck finds nothing", "shellcheck is not installed")
    report.rule("Python files compile", python(root))
    report.finish()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else ".")
