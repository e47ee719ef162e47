#!/usr/bin/python3
"""What a process boundary between HTTP and everything else would cost: a front that hands each request to a core
over a socket pair, beside the same front which answers by itself, and droverd as it is."""
import tempfile
from pathlib import Path

from bench import Api, Daemon, Program, Report, cpu_seconds, environment_seconds, free_port, median, paced

ROUNDS = 9
MODES = ("one", "suspended", "split")


def processes(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def main():
    report, seconds = Report("split"), environment_seconds(0.7)
    with Daemon(libvirt="test:///default") as daemon, tempfile.NamedTemporaryFile() as body:
        api = Api(daemon)
        vm = api.create("web-1")
        api.finish(vm["operation"])
        path, token = f"/v1/vms/{vm['id']}", daemon.admin_token()
        body.write(api.call("GET", path))
        body.flush()
        servers, programs = {"droverd": (daemon.address, [daemon.pid])}, []
        try:
            for mode in MODES:
                port = free_port()
                programs.append(Program("split_front", port, mode, body.name))
                assert programs[-1].line() == "listening"
                servers[mode] = (f"127.0.0.1:{port}", processes(programs[-1].process.pid))
            rates, cpu = {name: [] for name in servers}, {name: [] for name in servers}
            for connections in (16, 1):
                for name in servers:
                    rates[name], cpu[name] = [], []
                for _ in range(ROUNDS):
                    for name, (address, pids) in servers.items():
                        before = sum(map(cpu_seconds, pids))
                        result = paced(address, path, token, 0, seconds, connections)
                        cpu[name].append(1e6 * (sum(map(cpu_seconds, pids)) - before) / result["requests"])
                        rates[name].append(result["per_second"])
                tell(report, connections, rates, cpu)
        finally:
            for program in programs:
                program.__exit__()
    report.end()


def tell(report, connections, rates, cpu):
    what = f"{connections} connections" if connections > 1 else "one connection"
    for name, values in rates.items():
        share = 100 * median([value / one for value, one in zip(values, rates["one"])])
        report.note(f"{what}, {name}: {median(values):.0f} requests/s ({share:.0f} % of one process), CPU "
                    f"{median(cpu[name]):.2f} us a request")
    hop = median(cpu["split"]) - median(cpu["one"])
    own = median(cpu["droverd"])
    report.note(f"{what}: the hop costs {hop:.2f} us of CPU, of which "
                f"{median(cpu['suspended']) - median(cpu['one']):.2f} us are suspending and resuming; upon droverd's "
                f"{own:.2f} us it would leave {100 * own / (own + hop):.0f} % of the requests that a processor serves")


main()
