#!/usr/bin/env python3
"""Turns db/queries, db/migrations and db/history (*.sql) into one C header and one C source.

    gen_sql.py --header OUT.h --source OUT.c FILE.sql...

A file belongs to the queries or the migrations by its folder. The same files give the same bytes,
in whatever order they are named. What the build cannot see otherwise is refused here: a file in
the folder that meson.build does not list, a query without its header comment, two statements in
one file, parameters that differ from the comment, a gap between migrations.
"""
import argparse
import hashlib
import re
import sys
from pathlib import Path

NAME = re.compile(r"[a-z][a-z0-9_]*")
MIGRATION = re.compile(r"([0-9]{4})_([a-z][a-z0-9_]*)")
PARAMETER = re.compile(r":[a-z_][a-z0-9_]*")


class Refused(Exception):
    """A file that does not keep the rules."""


def c_string(text, indent):
    """C string literals, one per line of text."""
    lines = text.splitlines(keepends=True)
    if not lines:
        return indent + '""'
    quoted = []
    for line in lines:
        escaped = line.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        escaped = escaped.replace("?", "\\?")
        quoted.append(f'{indent}"{escaped}"')
    return "\n".join(quoted)


def without_text(sql):
    """The statement without string literals, in which a colon or a semicolon means nothing."""
    return re.sub(r"'(?:[^']|'')*'", "''", sql)


def parse_query(path):
    """Returns the name, the purpose and the statement of a query file."""
    text = path.read_text(encoding="utf-8")
    if not NAME.fullmatch(path.stem):
        raise Refused(f"{path}: the name must match {NAME.pattern}")
    header = []
    lines = text.splitlines()
    while lines and lines[0].startswith("--"):
        header.append(lines.pop(0)[2:].strip())
    if any("*/" in line for line in header):
        raise Refused(f"{path}: the header comment becomes a C comment and cannot hold */")
    sql = "\n".join(lines).strip()
    fields = re.fullmatch(r"(.*?)\nParameters:(.*?)\nColumns:(.*)", "\n".join(header), re.S)
    if not fields or not fields.group(1).strip() or not fields.group(3).strip():
        raise Refused(f"{path}: begins with a comment that has a purpose, `Parameters:` and "
                      "`Columns:`")
    bare = without_text(sql)
    if "--" in bare or "/*" in bare:
        raise Refused(f"{path}: comments belong in the header")
    if not sql.endswith(";") or bare.count(";") != 1:
        raise Refused(f"{path}: holds exactly one statement, ended by a semicolon")
    documented = PARAMETER.findall(fields.group(2))
    if not documented and fields.group(2).strip() != "none":
        raise Refused(f"{path}: `Parameters:` lists them or says none")
    used = PARAMETER.findall(bare)
    if "?" in bare or "@" in bare or "$" in bare:
        raise Refused(f"{path}: parameters are written :name")
    if set(documented) != set(used) or len(documented) != len(set(documented)):
        differ = sorted(set(documented) ^ set(used))
        raise Refused(f"{path}: parameters and their comment differ: {' '.join(differ)}")
    return path.stem, fields.group(1).replace("\n", " ").strip(), sql[:-1]


def parse_migrations(paths):
    """Returns (name, checksum, text) in order; the numbers must be 1, 2, 3, …"""
    migrations = []
    for number, path in enumerate(sorted(paths, key=lambda p: p.name), start=1):
        match = MIGRATION.fullmatch(path.stem)
        if not match or int(match.group(1)) != number:
            raise Refused(f"{path}: expected {number:04d}_name.sql")
        data = path.read_bytes()
        migrations.append((path.stem, hashlib.sha256(data).hexdigest(), data.decode("utf-8")))
    if not migrations:
        raise Refused("there are no migrations")
    return migrations


def check_complete(paths):
    """Every .sql beside a listed file is listed."""
    listed = {p.resolve() for p in paths}
    for folder in sorted({p.resolve().parent for p in paths}):
        missing = sorted(p for p in folder.glob("*.sql") if p not in listed)
        if missing:
            raise Refused(f"{missing[0]}: not listed in db/meson.build")


def parse_history(paths):
    """The schema and the queries of the history's own file."""
    schema = "".join(p.read_text(encoding="utf-8") for p in paths if p.stem == "schema")
    return schema, sorted(parse_query(p) for p in paths if p.stem != "schema")


def render_history_header(queries):
    if not queries:
        return ""
    rows = "".join(f"    {name.upper()}, /* {purpose} */\n" for name, purpose, _ in queries)
    return f"""
enum history_query {{
{rows}    HISTORY_QUERY_COUNT
}};
extern const struct query_text history_texts[HISTORY_QUERY_COUNT];
extern const char history_schema[];
"""


def render_history_source(schema, queries):
    out = ["const struct query_text history_texts[HISTORY_QUERY_COUNT] = {"]
    for name, _, sql in queries:
        out.append(f'    [{name.upper()}] = {{.name = "{name}",')
        out.append(f'        .sql =\n{c_string(sql, " " * 12)}}},')
    return "\n".join([*out, "};", "", "const char history_schema[] =", c_string(schema, " " * 4) + ";", ""])


def render_header(queries, history=()):
    rows = "".join(f"    QUERY_{name.upper()}, /* {purpose} */\n" for name, purpose, _ in queries)
    return f"""/* Made by db/gen_sql.py from db/queries and db/migrations; do not edit. */
#ifndef DROVER_DB_SQL_GEN_H
#define DROVER_DB_SQL_GEN_H

enum query {{
{rows}    QUERY_COUNT
}};

struct query_text {{
    const char *name, *sql;
}};
extern const struct query_text query_texts[QUERY_COUNT];

struct migration {{
    const char *name;     /* its file without .sql */
    const char *checksum; /* SHA-256 of the file, hex */
    const char *sql;
}};
extern const struct migration migrations[]; /* migrations[n] makes version n + 1 */
extern const int migration_count;
{render_history_header(history)}
#endif
"""


def render_source(queries, migrations, header_name):
    out = ["/* Made by db/gen_sql.py from db/queries and db/migrations; do not edit. */",
           f'#include "{header_name}"', "", "const struct query_text query_texts[QUERY_COUNT] = {"]
    for name, _, sql in queries:
        out.append(f'    [QUERY_{name.upper()}] = {{.name = "{name}",')
        out.append(f'        .sql =\n{c_string(sql, " " * 12)}}},')
    out += ["};", "", "const struct migration migrations[] = {"]
    for name, checksum, sql in migrations:
        out.append(f'    {{.name = "{name}",\n     .checksum = "{checksum}",')
        out.append(f'     .sql =\n{c_string(sql, " " * 9)}}},')
    out += ["};", f"const int migration_count = {len(migrations)};", ""]
    return "\n".join(out)


def main(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--header", type=Path, required=True)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--include", default="db/sql_gen.h", help="how the source names the header")
    parser.add_argument("files", type=Path, nargs="+")
    args = parser.parse_args(argv)
    try:
        check_complete(args.files)
        queries = sorted(parse_query(p) for p in args.files if p.parent.name == "queries")
        schema, history = parse_history([p for p in args.files if p.parent.name == "history"])
        migrations = parse_migrations([p for p in args.files if p.parent.name == "migrations"])
    except Refused as refusal:
        print(f"gen_sql.py: {refusal}", file=sys.stderr)
        return 1
    args.header.write_text(render_header(queries, history), encoding="utf-8")
    source = render_source(queries, migrations, args.include)
    if history:
        source += "\n" + render_history_source(schema, history)
    args.source.write_text(source, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
