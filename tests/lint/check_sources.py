#!/usr/bin/python3
"""Rules of HACKING.md that a program can check.

    check_sources.py [ROOT]
"""

import pathlib
import re
import sys

from lintlib import C_FOLDERS, Report, c_files, read, tracked, without_comments, without_strings

LINES_MAX = 600
TEST_LINES_MAX = 1200 # a list of cases is read from the middle
SOURCE_SUFFIXES = (".c", ".h", ".def", ".py", ".sh", ".js", ".mjs", ".sql", ".css", ".html", ".build")
# The one module that starts programs.
EXEC_OWNER = "service/base/exec.c"
# The only places that spell SQL in C.
SQL_FOLDERS = ("db",)
GENERATED_OR_DATA = ("package-lock.json", "openapi.yaml")


def lines(text, pattern, flags=0):
    for found in re.finditer(pattern, text, flags | re.MULTILINE):
        yield text.count("\n", 0, found.start()) + 1, found


def check_length(root):
    for path in tracked(root, *SOURCE_SUFFIXES):
        count = read(root, path).count("\n")
        limit = TEST_LINES_MAX if path.parts[0] == "tests" else LINES_MAX
        if count > limit and path.name not in GENERATED_OR_DATA:
            yield f"{path}: {count} lines; split it at {limit}"


def in_program(path):
    return path.parts[0] != "tests"


def check_xml(root, files):
    """An XML element inside a printf-like format, or glued from strings."""
    for path in filter(in_program, files):
        text = without_comments(read(root, path))
        # a literal with both an element and a conversion; comparing with a fixed text is not building
        for line, found in lines(text, r'"(?=[^"\n]*%)(?:[^"\\\n]|\\.)*<(/?[a-z][\w:-]*)(?:[^"\\\n]|\\.)*"'):
            if found[1] in ("a", "b", "br", "code", "p", "html", "title", "h1", "li", "ul", "pre", "head", "body") \
                    or path.parts[0] == "api":
                continue # HTML, not a domain
            yield f"{path}:{line}: XML in a string: build it as a tree (service/virt/domxml.c)"


def check_sql(root, files):
    sql = r'"\s*(SELECT\s+[\w*(]|INSERT\s+(OR\s+\w+\s+)?INTO\s|UPDATE\s+\w+\s+SET\s|DELETE\s+FROM\s|CREATE\s+(TABLE|INDEX)\s|PRAGMA\s+\w)'
    for path in filter(in_program, files):
        if path.parts[0] in SQL_FOLDERS:
            continue
        for line, found in lines(without_comments(read(root, path)), sql):
            yield f"{path}:{line}: SQL outside db/: {found[1].strip()}"


def check_processes(root, files):
    calls = r"\b(system|popen|fork|vfork|posix_spawnp?|execl|execlp|execle|execv|execvp|execvpe|execve|fexecve)\s*\("
    for path in filter(in_program, files):
        if str(path) == EXEC_OWNER:
            continue
        for line, found in lines(without_strings(without_comments(read(root, path))), calls):
            yield f"{path}:{line}: {found[1]}() outside {EXEC_OWNER}"


# What makes or changes a domain, and the one place of each: behind it stands the check of the finished XML.
DOORS = {"virDomainDefineXMLFlags": "service/virt/virt_domain.c", "virDomainRestoreFlags": "service/virt/virt_clone.c"}


def check_doors(root, files):
    calls = (r"\b(vir(?:Domain|Network|StoragePool|StorageVol|Interface|NWFilter|Secret)(?:\w*XML\w*|Restore\w*|Migrate\w*"
             r"|AttachDevice\w*|UpdateDevice\w*|QemuMonitorCommand\w*|QemuAttach|BlockCopy\w*))\s*\(")
    found = {}
    for path in filter(in_program, files):
        for line, call in lines(without_strings(without_comments(read(root, path))), calls):
            if "GetXML" not in call[1] and "CheckpointDump" not in call[1]:
                found.setdefault(call[1], []).append((str(path), line))
    for call, places in found.items():
        if [path for path, _ in places] != [DOORS.get(call)]:
            yield f"{call}() at {places}: a second door to libvirt; there is one, {DOORS.get(call)}"
    for call in DOORS.keys() - found.keys():
        yield f"{call}() is called nowhere: the row here is left over"


def check_unsafe_calls(root, files):
    calls = r"(?<![\w.>])(gets|strcpy|strcat|sprintf|vsprintf|strtok|mktemp|tmpnam|alloca|rand|asctime|ctime|gmtime|localtime|atoi|atol|atof|scanf)\s*\("
    for path in filter(in_program, files):
        for line, found in lines(without_strings(without_comments(read(root, path))), calls):
            yield f"{path}:{line}: {found[1]}() has a safer form in service/base"


def check_sleeps(root):
    """Tests wait for a condition with a deadline; a bare sleep is a race or a waste."""
    for path in tracked(root, ".c", ".py", ".sh", ".mjs"):
        if path.parts[0] != "tests" or path.parts[:2] == ("tests", "lint") or "guests" in path.parts:
            continue
        text = read(root, path)
        if path.suffix == ".c":
            pattern = r"(?<!\w)(u?sleep|nanosleep)\s*\("
            text = without_strings(without_comments(text))
        elif path.suffix == ".py":
            pattern = r"(?<!\w)(time\.sleep|sleep)\s*\(\s*([\d.]+)?"
        else:
            continue
        for line, found in lines(text, pattern):
            # A poll interval inside a loop with a deadline is at most 0.5 s.
            if path.suffix == ".py" and found[2] and float(found[2]) <= 0.5:
                continue
            if path.suffix == ".py" and not found[2]:
                continue
            yield f"{path}:{line}: {found[1]}: wait for a condition with a deadline"


def check_readmes(root):
    folders = {p.parent for p in tracked(root, ".c", ".mjs") if p.parts[0] in (*C_FOLDERS, "web")}
    for folder in sorted(folders):
        parts = folder.parts
        if parts[0] == "tests" or len(parts) > 2:
            continue # one per area is enough there
        if not (pathlib.Path(root) / folder / "README.md").is_file():
            yield f"{folder}: no README.md (owns, may include, must never)"
    for path in tracked(root, ".md"):
        count = read(root, path).count("\n")
        if path.name == "README.md" and len(path.parts) > 1 and count > 60:
            yield f"{path}: {count} lines; a folder's README is at most a page"


def check_marks(root):
    marks = r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b"
    for path in tracked(root, *SOURCE_SUFFIXES, ".md", ".yaml"):
        for line, found in lines(read(root, path), marks):
            yield f"{path}:{line}: {found[1]}: do it, or say in the code what is missing and why"


def guard_name(path):
    name = re.sub(r"[^A-Z0-9]", "_", str(path).upper())
    return "DROVER_" + re.sub(r"^SERVICE_", "", name)


def check_guards(root, files):
    for path in files:
        if path.suffix != ".h":
            continue
        text = without_comments(read(root, path))
        found = re.search(r"#ifndef (\w+)\s*\n\s*#define (\w+)", text)
        if not found or found[1] != found[2] or not found[1].startswith("DROVER_"):
            yield f"{path}: no include guard {guard_name(path)}"


def check_guards_differ(root, files):
    seen = {}
    for path in filter(in_program, files):
        if path.suffix != ".h":
            continue
        found = re.search(r"#ifndef (DROVER_\w+)", read(root, path))
        if found and found[1] in seen:
            yield f"{path}: the guard {found[1]} is {seen[found[1]]}'s"
        elif found:
            seen[found[1]] = path


def check_purpose(root, files):
    for path in filter(in_program, files):
        if not read(root, path).lstrip().startswith("/*"):
            yield f"{path}: does not begin with a comment that says what it is for"


def check_text(root):
    for path in tracked(root, *SOURCE_SUFFIXES, ".yaml", ".md"):
        text = read(root, path)
        if not text:
            continue
        if not text.endswith("\n"):
            yield f"{path}: no newline at the end"
        if "\r" in text:
            yield f"{path}: carriage returns"
        for line, _ in lines(text, r"[ \t]+$"):
            yield f"{path}:{line}: white space at the end of the line"
            break
        if path.suffix in (".c", ".h") and "\t" in text:
            yield f"{path}: tabs"


def check_width(root, files):
    for path in files:
        for number, line in enumerate(read(root, path).splitlines(), 1):
            if len(line) > (120 if in_program(path) else 140):
                yield f"{path}:{number}: {len(line)} columns"


def main(root):
    files = c_files(root)
    report = Report()
    report.rule(f"no file is longer than {LINES_MAX} lines", check_length(root))
    report.rule("no XML is built from strings", check_xml(root, files))
    report.rule("SQL stays in db/", check_sql(root, files))
    report.rule("programs are started in one place", check_processes(root, files))
    report.rule("domains are made through one door", check_doors(root, files))
    report.rule("no call that has a safer form", check_unsafe_calls(root, files))
    report.rule("tests do not sleep", check_sleeps(root))
    report.rule("every folder says what it owns", check_readmes(root))
    report.rule("nothing is left for later in a comment", check_marks(root))
    report.rule("headers have a guard", check_guards(root, files))
    report.rule("guards differ", check_guards_differ(root, files))
    report.rule("files say what they are for", check_purpose(root, files))
    report.rule("text files are clean", check_text(root))
    report.rule("no line is too wide", check_width(root, files))
    report.finish()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else ".")
