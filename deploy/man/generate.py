#!/usr/bin/python3
"""Writes the manual pages from the tables in the programs.

    generate.py --out DIR [--drover FILE]

drover.conf.5 and droverd.8 come from service/conf/settings.def; drover.1 from `drover help --json`
of the given program, and is left out without one. Equal inputs give equal bytes.
"""

import argparse
import json
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
SETTING = re.compile(r'^S\((\w+),\s*(\w+),\s*("[^"]*"|[^,]+),\s*([^,]+),\s*([^,]+),\s*([01]),\s*"(.*)"\)\s*$', re.MULTILINE)


def roff(text):
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join("\\&" + line if line[:1] in ".'" else line for line in text.splitlines())


def page(name, section, summary, *sections):
    lines = [f'.TH {name.upper()} {section} "" "Drover {version()}" "Drover"', ".SH NAME", f"{roff(name)} \\- {roff(summary)}"]
    for title, body in sections:
        lines += [f".SH {title}", *body]
    return "\n".join(lines) + "\n"


def version():
    return re.search(r"version: '([^']+)'", (ROOT / "meson.build").read_text(encoding="utf-8"))[1]


def settings():
    text = (ROOT / "service/conf/settings.def").read_text(encoding="utf-8")
    found = [dict(zip(("type", "name", "default", "min", "max", "reload", "help"), m.groups()))
             for m in SETTING.finditer(text)]
    rows = len(re.findall(r"^S\([A-Z]", text, re.MULTILINE)) # the heading's S(type, ...) is lower case
    if not found or len(found) != rows:
        raise SystemExit(f"service/conf/settings.def: {len(found)} of {rows} rows understood")
    return found


def setting_facts(s):
    default = s["default"].strip('"')
    if s["type"] == "BOOL":
        return f"true or false; default {'true' if default == '1' else 'false'}"
    if s["type"] == "INT":
        return f"{s['min'].strip()} to {s['max'].strip()}; default {default}"
    return f"text; default {default or 'empty'}"


def conf_page():
    body = []
    for s in settings():
        when = "Takes effect on reload (SIGHUP)." if s["reload"] == "1" else "Needs a restart."
        body += [".TP", f".B {roff(s['name'])}", f"{roff(s['help'])}.", f"({roff(setting_facts(s))}.) {when}"]
    return page("drover.conf", 5, "settings of droverd",
                ("DESCRIPTION", ["Lines of the form", ".IP", "name = value", ".PP",
                                 "A # begins a comment. An unknown name or a value out of range is an error that names",
                                 "the file and the line."]),
                ("SETTINGS", body),
                ("SEE ALSO", [".BR droverd (8)"]))


def daemon_page():
    options = []
    for s in settings():
        options += [".TP", f".BI {roff('--' + s['name'].replace('_', '-'))} \" value\"", f"{roff(s['help'])}."]
    return page("droverd", 8, "virtual machines over HTTP",
                ("SYNOPSIS", [".B droverd", "[\\fB\\-\\-config\\fR \\fIfile\\fR] [\\fIoption value\\fR ...]"]),
                ("DESCRIPTION", ["Serves REST, WebSocket and the dashboard on one port and drives KVM through libvirt.",
                                 "Guests go on running when it stops or is killed."]),
                ("OPTIONS", [".TP", ".BI \\-\\-config \" file\"", "Read settings from this file first; options override it.",
                             ".TP", ".B \\-\\-check\\-config", "Read the settings, say what is wrong with them, and exit.",
                             ".TP", ".B \\-\\-version", "Show the version.", *options]),
                ("SIGNALS", [".TP", ".B SIGTERM, SIGINT", "Stop; guests keep running.",
                             ".TP", ".B SIGHUP", "Read the settings again; those that need a restart stay as they are."]),
                ("FILES", ["Everything is below the state directory.",
                           ".TP", ".I admin.token", "The first token, made at the first start; readable by its owner only.",
                           ".TP", ".I drover.sock", "The Unix socket; root needs no token there.",
                           ".TP", ".I listen.addr", "The address and port it listens on."]),
                ("SEE ALSO", [".BR drover (1),", ".BR drover.conf (5)"]))


def option_lines(options):
    lines = []
    for o in options:
        letter = f"\\fB\\-{o['letter']}\\fR, " if o.get("letter") else ""
        argument = f" \\fI{roff(o['argument'])}\\fR" if o.get("argument") else ""
        lines += [".TP", f"{letter}\\fB{roff('--' + o['name'])}\\fR{argument}", roff(o["help"]) + "."]
    return lines


def command_page(table):
    commands = []
    for c in table["commands"]:
        operands = f" \\fI{roff(c['operands'])}\\fR" if c["operands"] else ""
        commands += [f".SS \"{roff(c['words'])}{operands}\"", roff(c["summary"][0].upper() + c["summary"][1:]) + "."]
        if c.get("details"):
            commands += [".PP", roff(c["details"])]
        commands += option_lines(c["options"])
    return page("drover", 1, "virtual machines on this host or another",
                ("SYNOPSIS", [".B drover", "[\\fIoption\\fR ...] \\fIcommand\\fR"]),
                ("OPTIONS", option_lines(table["options"])),
                ("COMMANDS", commands),
                ("ENVIRONMENT", [line for v in table["environment"]
                                 for line in (".TP", f".B {roff(v['name'])}", roff(v["meaning"]) + ".")]),
                ("EXIT STATUS", [line for e in table["exit_status"]
                                 for line in (".TP", f".B {e['code']}", roff(e["meaning"]) + ".")]),
                ("SEE ALSO", [".BR droverd (8)"]))


def main():
    parser = argparse.ArgumentParser(description="Writes the manual pages.")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--drover", help="the program to ask for its commands")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    pages = {"drover.conf.5": conf_page(), "droverd.8": daemon_page()}
    if options.drover:
        table = json.loads(subprocess.run([options.drover, "help", "--json"], check=True, capture_output=True).stdout)
        pages["drover.1"] = command_page(table)
    for name, text in pages.items():
        (options.out / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
