"""What the checks share: the project's files, and TAP."""

import pathlib
import subprocess
import sys

C_FOLDERS = ("service", "api", "db", "tests")


class Report:
    """One TAP case per rule; findings are diagnostics below it."""

    def __init__(self):
        self.cases = 0
        self.failed = 0

    def rule(self, title, findings):
        self.cases += 1
        findings = list(findings)
        if findings:
            self.failed += 1
        print(f"{'not ok' if findings else 'ok'} {self.cases} - {title}")
        for finding in findings:
            print(f"#   {finding}")

    def skip(self, title, reason):
        self.cases += 1
        print(f"ok {self.cases} - {title} # SKIP {reason}")

    def finish(self):
        print(f"1..{self.cases}")
        sys.exit(1 if self.failed else 0)


def tracked(root, *suffixes):
    """Files of the working tree that git does not ignore, relative to root; all when there is no git."""
    root = pathlib.Path(root)
    try:
        listing = subprocess.run(
            ["git", "-c", "safe.directory=*", "-C", root, "ls-files", "-co", "--exclude-standard"],
            check=True, capture_output=True, text=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        listing = [str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()
                   and not any(part.startswith((".git", "build", "node_modules")) for part in p.relative_to(root).parts)]
    paths = (pathlib.PurePosixPath(name) for name in sorted(set(listing)))
    return [p for p in paths if (not suffixes or p.suffix in suffixes) and (root / p).is_file()]


def c_files(root, *folders):
    return [p for p in tracked(root, ".c", ".h") if p.parts[0] in (folders or C_FOLDERS)]


def read(root, path):
    return (pathlib.Path(root) / path).read_text(encoding="utf-8", errors="replace")


def without_comments(text):
    """C text with comments blanked out, line numbers and strings kept."""
    out, i, n = [], 0, len(text)
    while i < n:
        if text.startswith("//", i):
            end = text.find("\n", i)
            i = n if end < 0 else end
        elif text.startswith("/*", i):
            end = text.find("*/", i + 2)
            end = n if end < 0 else end + 2
            out.append("".join(ch if ch == "\n" else " " for ch in text[i:end]))
            i = end
        elif text[i] in "\"'":
            quote, start = text[i], i
            i += 1
            while i < n and text[i] != quote and text[i] != "\n":
                i += 2 if text[i] == "\\" else 1
            i = min(i + 1, n)
            out.append(text[start:i])
        else:
            out.append(text[i])
            i += 1
    return "".join(out)


def without_strings(text):
    """The same with the contents of string literals blanked out, too."""
    out, i, n = [], 0, len(text)
    while i < n:
        if text[i] == '"':
            out.append('"')
            i += 1
            while i < n and text[i] not in '"\n':
                step = 2 if text[i] == "\\" else 1
                out.append(" " * step)
                i += step
            if i < n:
                out.append(text[i])
                i += 1
        else:
            out.append(text[i])
            i += 1
    return "".join(out)
