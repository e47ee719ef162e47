"""ThreadSanitizer's reports in a folder: prints those that are not a library's own, and their number.

    tsan_reports.py FOLDER

glib, libtirpc and with them libvirt (and the XML documents that it keeps) take turns by atomics and futexes of their
own and are not built with the sanitizer: an access that one of them makes looks as if nothing had ordered it. A
race counts unless one of its two accesses is theirs; what is said of locks, unless they took all of them.
"""
import re
import sys
from pathlib import Path

LIBRARIES = re.compile(r"\((libglib-2\.0|libgobject-2\.0|libgio-2\.0|libtirpc|libvirt[a-z_]*|libxml2)\.so")
# "#0 memcpy <null> (droverd+0x7a1de)": the sanitizer's own, with our program's name
INTERCEPTED = re.compile(r"^\s+#\d+ \w+ <null> \((?!lib)")
# What was done with memory or a lock; other stacks say where memory, locks and threads were made.
DONE = re.compile(r"^(  (Write|Read|Atomic|Previous)|  Mutex .* acquired|WARNING)")


def is_a_librarys(stack):
    frames = [line for line in stack.splitlines() if re.match(r"\s+#\d+ ", line)]
    frames = [line for line in frames if not INTERCEPTED.match(line)] or frames
    return bool(frames and LIBRARIES.search(frames[0]))


def stacks_of(report):
    """Of what was done: what a header ends is the one before it."""
    blocks = re.split(r"\n(?=  \S|WARNING)", report)
    return [block for block in blocks if DONE.match(block) and re.search(r"^\s+#0 ", block, re.MULTILINE)]


def reports(folder):
    for path in sorted(Path(folder).iterdir()):
        for report in re.split(r"^=+\n", path.read_text(encoding="utf-8", errors="replace"), flags=re.MULTILINE):
            if "WARNING: ThreadSanitizer" not in report:
                continue
            enough = any if "data race" in report or "use-after-free" in report else all
            if not enough(map(is_a_librarys, stacks_of(report))):
                yield path.name, report


if __name__ == "__main__":
    found = list(reports(sys.argv[1]))
    for name, report in found:
        print(f"---- {name}\n{report}", file=sys.stderr)
    print(len(found))
