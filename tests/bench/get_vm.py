#!/usr/bin/python3
"""GET /v1/vms/{vm} with a bearer token, beside libmicrohttpd answering the same bytes unchecked."""
import tempfile

from bench import Api, Daemon, Program, Report, cpu_seconds, environment_seconds, free_port, median, paced

ROUNDS = 9


def main():
    report, seconds = Report("get_vm"), environment_seconds(0.7)
    with Daemon(libvirt="test:///default") as daemon, tempfile.NamedTemporaryFile() as body:
        api = Api(daemon)
        vm = api.create("web-1")
        api.finish(vm["operation"])
        path, token = f"/v1/vms/{vm['id']}", daemon.admin_token()
        body.write(api.call("GET", path))
        body.flush()
        port = free_port()
        with Program("bare_mhd", port, body.name) as bare:
            assert bare.line() == "listening"
            servers = {"bare": f"127.0.0.1:{port}", "droverd": daemon.address}
            pids = {"bare": bare.process.pid, "droverd": daemon.pid}
            full, cpu = {name: [] for name in servers}, {name: [] for name in servers}
            for _ in range(ROUNDS):
                for name, address in servers.items():
                    before = cpu_seconds(pids[name])
                    result = paced(address, path, token, 0, seconds)
                    cpu[name].append(1e6 * (cpu_seconds(pids[name]) - before) / result["requests"])
                    full[name].append(result["per_second"])
            rate = {name: median(values) for name, values in full.items()}
            ratios = [100 * b / a for a, b in zip(full["bare"], full["droverd"])]
            report.note(f"requests/s: bare libmicrohttpd {rate['bare']:.0f}, droverd {rate['droverd']:.0f}; "
                        f"ratios of the rounds: {', '.join(f'{r:.1f}' for r in ratios)} %")
            report.note(f"server CPU per request: bare libmicrohttpd {median(cpu['bare']):.2f} us, droverd "
                        f"{median(cpu['droverd']):.2f} us ({100 * median(cpu['bare']) / median(cpu['droverd']):.1f} %)")
            half = {name: [] for name in servers}
            for _ in range(ROUNDS):
                for name, address in servers.items():
                    half[name].append(paced(address, path, token, rate["droverd"] / 2, seconds)["p99_ms"])
            report.target("requests/s as a share of bare libmicrohttpd's", median(ratios), 70, "%", at_least=True)
            report.note(f"p99 at {rate['droverd'] / 2:.0f} requests/s, bare libmicrohttpd: "
                        f"{median(half['bare']):.2f} ms")
            report.target(f"p99 at {rate['droverd'] / 2:.0f} requests/s", median(half["droverd"]), 2, "ms")
    report.end()


main()
