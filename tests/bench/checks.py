#!/usr/bin/python3
"""What the checks cost of a request: the gate on headers, Host and Origin, upgrade, credential and rights, limits
and deadlines, audit.

valgrind's callgrind counts the instructions of GET /v1/vms/{vm} by function; that hardly changes on a busy machine.
It counts the program's only. So their share of a request's CPU time is their share of the instructions, of the part
of that time which is the program's and not the kernel's, by the clock and without valgrind. Requests with a token
and with a browser's session."""
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from bench import Daemon, Report, environment_seconds, paced

# Functions that do not call one another, and only them; the compiler keeps them apart: each is called from another file.
CHECKS = {"gate on headers": ["headers_read"], "Host and names": ["http_policy_host", "gate_request_id_valid"],
          "upgrade": ["upgrade_check"], "credential, Origin, rights": ["auth_check"],
          "body limits": ["body_expect"], "deadlines": ["conn_expect", "conn_reap", "conn_hangups"],
          "audit": ["request_audit"]}
CONNECTIONS = 16


def control(daemon, *arguments):
    subprocess.run(["callgrind_control", *arguments, str(daemon.pid)], check=True, capture_output=True, timeout=120)


def counted(where, path_of, seconds):
    """{function: instructions a request}, with "" for all of them."""
    out = where / "callgrind.out"
    wrapper = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--separate-threads=yes",
               f"--callgrind-out-file={out}"]
    with Daemon(libvirt="test:///default", wrapper=wrapper) as daemon:
        path, token = path_of(daemon)
        control(daemon, "-i", "on")
        paced(daemon.address, path, token, 0, 5, CONNECTIONS)
        control(daemon, "-z")
        requests = paced(daemon.address, path, token, 0, seconds, CONNECTIONS)["requests"]
        control(daemon, "-d")
        control(daemon, "-i", "off")
    # Of the http thread alone: others do their work once a second, which under valgrind is once in few requests.
    [dump] = [path for path in where.glob("callgrind.out.1-*") if re.search(r"^c?fn=\(\d+\) headers_read", path.read_text(), re.M)]
    text = subprocess.run(["callgrind_annotate", "--inclusive=yes", "--threshold=100", "--auto=no", dump], check=True,
                          capture_output=True, text=True, timeout=120).stdout
    found = {"": int(re.search(r"^\s*([\d,]+).*PROGRAM TOTALS", text, re.M)[1].replace(",", "")) / requests}
    # "rep stosb" is one instruction for each byte there, and is nothing like that long.
    found[""] -= sum(int(count.replace(",", "")) for count in re.findall(r"^\s*([\d,]+) \([^)]*\)\s+\S*:__memset_", text, re.M)) / requests
    for count, function in re.findall(r"^\s*([\d,]+) \([^)]*\)\s+\S*?:([\w.]+)(?:'\d+)?(?: \[|$)", text, re.M):
        name = function.split(".")[0]
        found[name] = max(found.get(name, 0), int(count.replace(",", "")) / requests)
    return found


def own_share(path_of, seconds):
    """How much of the CPU time of its threads the program has, and not the kernel; and that time of a request in us."""
    with Daemon(libvirt="test:///default") as daemon:
        path, token = path_of(daemon)

        def ticks():
            fields = Path(f"/proc/{daemon.pid}/stat").read_text().rsplit(")", 1)[1].split()
            return int(fields[11]), int(fields[12])
        paced(daemon.address, path, token, 0, 0.5, CONNECTIONS)
        before = ticks()
        requests = paced(daemon.address, path, token, 0, max(5, seconds), CONNECTIONS)["requests"]
        user, system = (b - a for a, b in zip(before, ticks()))
    return user / (user + system), 1e4 * (user + system) / requests


def one_vm(daemon):
    made = daemon.client().post("/v1/vms", {"name": "web-1", "memory_mib": 64})
    assert made.status == 201, made
    return f"/v1/vms/{made.json['id']}", daemon.admin_token()


def main():
    report, seconds = Report("checks"), environment_seconds(3)
    if not shutil.which("valgrind"):
        report.note("valgrind is not installed: not measured")
        report.end()
    with tempfile.TemporaryDirectory() as name:
        found = counted(Path(name), one_vm, seconds)
    own, cpu = own_share(one_vm, seconds)
    total, checks = found[""], 0
    for what, functions in CHECKS.items():
        count = sum(found.get(function, 0) for function in functions)
        checks += count
        report.note(f"{what}: {count:.0f} instructions a request ({100 * count / total:.2f} % of the program's)")
    report.note(f"all checks: {checks:.0f} of the program's {total:.0f} instructions ({100 * checks / total:.1f} %); the program has "
                f"{100 * own:.0f} % of the {cpu:.1f} us of CPU a request, the kernel the rest")
    assert all(found.get(function) for function in ("headers_read", "auth_check", "http_policy_host"))
    report.target("share of a request's CPU time", 100 * own * checks / total, 10, "%")
    report.end()


main()
