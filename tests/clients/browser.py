"""Pages of ours in Chromium, which report by themselves how it went."""
import contextlib
import http.server
import json
import os
import queue
import shutil
import signal
import subprocess
import tempfile
import threading
import urllib.parse
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
PATIENCE = 120  # seconds
TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css", ".html": "text/html; charset=utf-8"}


def modules():
    """node_modules, fetched once; what cannot be fetched is a skip."""
    where = HERE / "node_modules"
    wanted = json.loads((HERE / "package.json").read_text(encoding="utf-8"))["dependencies"]
    if not all((where / name).is_dir() for name in wanted):
        if not shutil.which("npm"):
            pytest.skip("npm is missing")
        done = subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"], cwd=HERE,
                              capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            pytest.skip(f"the packages of tests/clients/package-lock.json could not be fetched: {done.stderr[-300:]}")
    return where


class Pages(contextlib.AbstractContextManager):
    """An origin of its own: serves page/ and node_modules/, takes reports."""

    def __init__(self):
        reports, go, roots = queue.Queue(), threading.Event(), {"modules": modules(), "page": HERE / "page"}

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):  # noqa: N802
                if self.path == "/go":
                    go.wait(PATIENCE)
                    self.send_response(204)
                    self.end_headers()
                    return
                top, _, rest = urllib.parse.urlsplit(self.path).path.lstrip("/").partition("/")
                file = (roots[top] / rest).resolve() if top in roots else None
                if not file or not file.is_file() or roots[top] not in file.parents:
                    self.send_error(404)
                    return
                body = file.read_bytes()
                self.send_response(200)
                self.send_header("Content-Type", TYPES.get(file.suffix, "application/octet-stream"))
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self):  # noqa: N802
                reports.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.reports, self.go = reports, go
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    @contextlib.contextmanager
    def open(self, page, **config):
        """A browser with that page; report() is what it says next."""
        url = f"{self.origin}/page/{page}#{urllib.parse.quote(json.dumps(config))}"
        profile = tempfile.mkdtemp(prefix="drover-chromium-")
        command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                   "--disable-background-networking", "--disable-component-update", "--disable-sync",
                   "--disable-dev-shm-usage", "--remote-debugging-port=0", f"--user-data-dir={profile}", url]
        self.go.clear()
        with open(f"{profile}/log", "wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            yield lambda: self.next_report(Path(profile, "log"))
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # the session we made
            process.wait(30)
            shutil.rmtree(profile, ignore_errors=True)

    def next_report(self, log):
        try:
            result = self.reports.get(timeout=PATIENCE)
        except queue.Empty:
            raise AssertionError(f"the page reports nothing: {log.read_text(errors='replace')[-2000:]}") from None
        assert "error" not in result, result
        return result

    def run(self, page, **config):
        """What the page reported in the end."""
        with self.open(page, **config) as report:
            return report()
