#!/usr/bin/python3
"""The walls: which file may include which header.

    check_includes.py [ROOT]

Two tables are checked against every #include: the owner of each foreign library, and the order of
our own folders. See ARCHITECTURE.md for the reasons.
"""

import re
import sys
from fnmatch import fnmatch

from lintlib import Report, c_files, read, without_comments

# Foreign header (pattern) -> the only files that may include it.
OWNERS = {
    "libvirt/*": ["service/virt/virt_internal.h"],
    "libxml/*": ["service/virt/domxml*.[ch]"],
    "sqlite3.h": ["db/db_internal.h"],
    "microhttpd.h": ["api/http_internal.h"],
    "libwebsockets.h": ["api/ws_internal.h", "service/cli/socket.c"],
    "zlib.h": ["service/vm/history_codec.c"],
    "pcre2.h": ["service/vm/pattern.c"],
    "archive*.h": ["service/vm/seed.c", "service/cli/bundle.c"],
    "lzma.h": ["service/vm/image_convert.c"],
    "curl/*": ["service/cli/client.c", "service/net/net_internal.h"],
    "jansson.h": ["service/json/*", "service/vm/*json*", "service/vm/spec*", "service/vm/audit_log*", "service/vm/event*", "service/vm/vm.h",
                  "service/vm/console_v1*", "service/vm/exec_v1*", "service/vm/guest*", "service/vm/lease*", "service/vm/pool*",
                  "service/vm/set*", "api/*",
                  "service/cli/value.h"],
    "sodium.h": ["service/base/*", "service/cli/base64.c", "api/handlers/images.c", # base64 of a digest
                 "service/vm/guest_reply.c", "api/codec/guest.c"], # base64 of a guest's bytes
    "openssl/*": ["service/base/hash.c", "api/tls_internal.h", "api/tls_context.c"],
    "uuid/*": ["service/base/*"],
    "uuid.h": ["service/base/*"],
    "ini.h": ["service/conf/*"],
    "systemd/*": ["service/*.[ch]"],
    "linux/vm_sockets.h": ["service/vsock/vsock_kernel.c"],
    "png.h": ["service/vm/picture.c"],
    "yaml.h": ["service/cli/yamldoc.c"],
    "termios.h": ["service/cli/terminal.c"],
    "seccomp.h": ["service/base/sandbox.c"],
    "linux/landlock.h": ["service/base/sandbox.c"],
}

# Folder -> our folders it may include (beside itself). What is not here may include nothing of ours.
LAYERS = {
    "service/base": [],
    "service/conf": ["service/base"],
    "service/json": ["service/base"],
    "service/virt": ["service/base"],
    "service/host": ["service/base"],
    "service/net": ["service/base"],
    "service/vsock": ["service/base"],
    "db": ["service/base"],
    "service/vm": ["service/base", "service/conf", "service/json", "service/virt", "service/host",
                   "service/net", "service/vsock", "db"],
    "web": [],
    # virt and host: for the plain structs they fill. Never db: what api wants from it, vm has.
    "api": ["service/base", "service/conf", "service/json", "service/virt", "service/host", "service/vm", "web"],
    "service/cli": ["service/base"],
    "service": ["service/base", "service/conf", "service/json", "service/virt", "service/host", "db",
                "service/vm", "web", "api"],
}

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.MULTILINE)


def layer_of(path):
    """The longest folder of the table that holds the path, or None."""
    for folder in sorted(LAYERS, key=len, reverse=True):
        if path.startswith(folder + "/"):
            return folder
    return None


def matches(path, patterns):
    # fnmatch's * crosses slashes; "service/*.[ch]" must not mean subfolders.
    return any(fnmatch(path, p) and (p.endswith("/*") or path.count("/") == p.count("/")) for p in patterns)


def includes(root, path):
    text = without_comments(read(root, path))
    for found in INCLUDE.finditer(text):
        yield text.count("\n", 0, found.start()) + 1, found[1] == "<", found[2]


def check_owners(root, files):
    for path in files:
        if path.parts[0] == "tests":
            continue
        for line, _, header in includes(root, path):
            for pattern, owners in OWNERS.items():
                if fnmatch(header, pattern) and not matches(str(path), owners):
                    yield f"{path}:{line}: <{header}> belongs to {', '.join(owners)}"


def check_layers(root, files):
    for path in files:
        own = layer_of(str(path))
        if own is None:
            continue
        for line, is_system, header in includes(root, path):
            if is_system:
                continue
            target = layer_of(header)
            if target is None:
                yield f'{path}:{line}: "{header}" must be written as a path from the root'
            elif target != own and target not in LAYERS[own]:
                yield f"{path}:{line}: {own} must not include {target} ({header})"


def check_private(root, files):
    for path in files:
        for line, is_system, header in includes(root, path):
            folder = header.rpartition("/")[0]
            if header.endswith("_internal.h") and not is_system and folder != str(path.parent) \
                    and path.parts[0] != "tests":
                yield f"{path}:{line}: {header} is private to {folder}"


def check_order(root, files):
    """A .c file includes its own header first, so that every header stands alone."""
    for path in files:
        own = str(path.with_suffix(".h"))
        if path.suffix != ".c" or own not in {str(p) for p in files}:
            continue
        first = next(includes(root, path), None)
        if first and first[2] != own and not first[2].endswith("_internal.h"): # which includes it
            yield f"{path}:{first[0]}: {own} must be the first include"


def main(root):
    files = c_files(root)
    report = Report()
    report.rule("each foreign library has one owner", check_owners(root, files))
    report.rule("folders depend in one direction", check_layers(root, files))
    report.rule("private headers stay in their folder", check_private(root, files))
    report.rule("a source includes its own header first", check_order(root, files))
    report.finish()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else ".")
