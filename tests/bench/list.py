#!/usr/bin/python3
"""GET /v1/vms?limit=1000 and starting, with 10,000 stored VMs.

The VMs are made once through the API, in a state directory below the build, and reused. With
libvirtd they are made anew: its test driver forgets its domains when it ends.
"""
import http.client
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import BUILD, Api, Daemon, Report, cpu_seconds, fill, median, percentile

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import libvirtd as private  # noqa: E402

COUNT, STARTS, LISTS = 10_000, 7, 100


def count_vms(api):
    text = api.call("GET", "/metrics").decode()
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("drover_vms{"))


def filled(state_dir, uri):
    """Makes what is missing; the daemon is stopped afterwards."""
    began = time.monotonic()
    state_dir.mkdir(parents=True, exist_ok=True)
    done = state_dir / "filled"
    if done.exists():
        return None
    with Daemon(libvirt=uri, state_dir=state_dir) as daemon:
        fill(daemon, COUNT)
    done.write_text("")
    return time.monotonic() - began


def start_ms(daemon):
    """From the program's start to the first 200 of /readyz."""
    listen = daemon.state_dir / "listen.addr"
    listen.unlink(missing_ok=True)
    command = [BUILD / "droverd", "--state-dir", daemon.state_dir, "--listen", "127.0.0.1:0", "--libvirt",
               daemon.libvirt]
    with open(daemon.log_path, "ab") as log:
        began = time.monotonic()
        daemon.process = subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL)
    while not (listen.exists() and listen.read_text()):
        assert daemon.process.poll() is None, daemon.log()[-2000:]
        time.sleep(0.001)
    listening = time.monotonic()
    daemon.address = listen.read_text().strip()
    host, port = daemon.address.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    while True:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        answer.read()
        if answer.status == 200:
            break
        assert time.monotonic() - began < 60, daemon.log()[-2000:]
        time.sleep(0.002)
    return 1000 * (time.monotonic() - began), 1000 * (listening - began)


def lists(daemon, report, label):
    api, times, first = Api(daemon), [], None
    for _ in range(LISTS):
        began = time.monotonic()
        data = api.call("GET", "/v1/vms?limit=1000")
        times.append(1000 * (time.monotonic() - began))
        first = first or times[0]
    page = json.loads(data)
    assert len(page["items"]) == 1000 and page["next_cursor"]
    before = cpu_seconds(daemon.pid)
    cold = []  # each page once: nobody has asked for these VMs since the start
    while page["next_cursor"]:
        began = time.monotonic()
        data = api.call("GET", f"/v1/vms?limit=1000&cursor={page['next_cursor']}")
        cold.append(1000 * (time.monotonic() - began))
        page = json.loads(data)
    report.note(f"{label}: {len(data) // 1000} kB an answer; first after the start {first:.1f} ms; "
                f"pages nobody has read before: median {median(cold):.1f} ms, worst {max(cold):.1f} ms, CPU "
                f"{1000 * (cpu_seconds(daemon.pid) - before) / len(cold):.1f} ms each")
    report.target(f"{label}: 1000 of {COUNT} VMs, median", median(times), 10, "ms")
    report.target(f"{label}: 1000 of {COUNT} VMs, p99", percentile(times, 0.99), 10, "ms")


def measure(report, label, uri, state_dir):
    daemon = Daemon(libvirt=uri, state_dir=state_dir)
    ready, listening, cpu = [], [], []
    for i in range(STARTS):
        r, n = start_ms(daemon)
        ready.append(r)
        listening.append(n)
        cpu.append(1000 * cpu_seconds(daemon.pid))
        if i == STARTS - 1:
            lists(daemon, report, label)
        began = time.monotonic()
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.wait(30) == 0
        stopped = 1000 * (time.monotonic() - began)
    report.note(f"{label}: starts, ms: {', '.join(f'{r:.0f}' for r in ready)}; listening after "
                f"{median(listening):.0f} ms; CPU until ready {median(cpu):.0f} ms; stop took {stopped:.0f} ms")
    report.target(f"{label}: start to ready with {COUNT} VMs, median", median(ready), 300, "ms")


def main():
    report = Report("list")
    kept = BUILD / "bench-state"
    took = filled(kept, "test:///default")
    if took:
        report.note(f"made {COUNT} VMs through the API in {took:.0f} s")
    measure(report, "test", "test:///default", kept)
    if not private.available():
        report.note("libvirtd is not installed: not measured with it")
        report.end()
    state_dir = Path(tempfile.mkdtemp(prefix="drover-"))
    try:
        with private.Libvirtd() as libvirtd:
            took = filled(state_dir, libvirtd.uri)
            report.note(f"made {COUNT} VMs through libvirtd in {took:.0f} s")
            measure(report, "test+unix", libvirtd.uri, state_dir)
    finally:
        shutil.rmtree(state_dir, ignore_errors=True)
    report.end()


main()
