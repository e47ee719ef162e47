"""GARM as an external provider sees it (interface v0.1.1): environment, stdin, what it accepts as an answer,
what exit codes mean. And the two addresses that a new runner talks to."""
import base64
import hashlib
import http.server
import io
import json
import os
import subprocess
import tarfile
import threading
import uuid

NOT_FOUND, DUPLICATE = 30, 31
STATUSES = {"running", "stopped", "error", "pending_delete", "pending_force_delete", "deleting", "deleted",
            "pending_create", "creating", "unknown"}


class ProviderFailed(Exception):
    def __init__(self, code, said):
        super().__init__(f"provider returned {code}: {said}")
        self.code = code


class Garm:
    def __init__(self, executable, config, interface="v0.1.1"):
        self.executable, self.config, self.interface = list(executable), str(config), interface
        self.controller, self.pool = str(uuid.uuid4()), str(uuid.uuid4())

    def environment(self, command, instance=None, pool=True, extra_specs=None):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("DROVER_", "GARM_"))}
        env.update(GARM_COMMAND=command, GARM_CONTROLLER_ID=self.controller, GARM_PROVIDER_CONFIG_FILE=self.config,
                   GARM_INTERFACE_VERSION=self.interface)
        if pool:
            env["GARM_POOL_ID"] = self.pool
        if instance:
            env["GARM_INSTANCE_ID"] = instance
        if command != "CreateInstance":
            env["GARM_POOL_EXTRASPECS"] = base64.b64encode(json.dumps(extra_specs).encode()).decode()
        return env

    def start(self, command, stdin=None, **kw):
        process = subprocess.Popen(self.executable, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   env=self.environment(command, **kw))
        if stdin is not None:
            process.stdin.write(stdin)
        process.stdin.close()
        process.stdin = None
        return process

    def call(self, command, stdin=b"", timeout=300, **kw):
        done = subprocess.run(self.executable, input=stdin, capture_output=True, timeout=timeout, check=False,
                              env=self.environment(command, **kw))
        if done.returncode:
            raise ProviderFailed(done.returncode, done.stderr.decode(errors="replace"))
        return done.stdout

    @staticmethod
    def valid(instance):
        assert instance["provider_id"] and instance["name"] and instance["status"] in STATUSES, instance
        base64.b64decode(instance.get("provider_fault", ""), validate=True)
        assert all(set(a) == {"address", "type"} for a in instance.get("addresses", [])), instance
        return instance

    def bootstrap(self, name, image="", flavor="default", **more):
        """The document on CreateInstance's stdin."""
        return {"name": name, "tools": [], "repo_url": "https://github.invalid/o/r", "callback-url": "http://127.0.0.1:9",
                "metadata-url": "http://127.0.0.1:9", "instance-token": "jwt", "ssh-keys": None, "extra_specs": {},
                "github-runner-group": "", "ca-cert-bundle": None, "arch": "amd64", "os_type": "linux",
                "flavor": flavor, "image": image, "labels": ["drover", "linux"], "pool_id": self.pool,
                "user_data_options": {"disable_updates_on_boot": False, "extra_packages": None, "enable_boot_debug": False},
                "jit_config_enabled": True, "proxy_config": {"http_proxy": "", "https_proxy": "", "no_proxy": ""}, **more}

    # ---- the operations ----

    def create(self, name, **kw):
        return self.valid(json.loads(self.call("CreateInstance", json.dumps(self.bootstrap(name, **kw)).encode())))

    def get(self, instance):
        return self.valid(json.loads(self.call("GetInstance", instance=instance)))

    def list(self):
        return [self.valid(i) for i in json.loads(self.call("ListInstances"))]

    def delete(self, instance):
        try:
            assert self.call("DeleteInstance", instance=instance) == b""
        except ProviderFailed as failed:
            if failed.code != NOT_FOUND: # that is as good as deleted
                raise

    def remove_all(self):
        assert self.call("RemoveAllInstances", pool=False) == b""


class Home:
    """What a runner calls: GARM's callback and metadata addresses, and GitHub's download."""

    def __init__(self, run_sh, config_sh=b""):
        self.token, self.statuses, self.info, self.calls, self.done = "jwt-secret", [], None, [], threading.Event()
        self.runner = io.BytesIO()
        with tarfile.open(fileobj=self.runner, mode="w:gz") as tar:
            for name, text in (("run.sh", run_sh), ("config.sh", config_sh)):
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(text), 0o755
                tar.addfile(entry, io.BytesIO(text))
        self.runner = self.runner.getvalue()
        home = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.0"

            def log_message(self, *_):
                pass

            def answer(self, status, body=b""):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def allowed(self):
                return self.headers.get("Authorization") == f"Bearer {home.token}"

            def do_GET(self):
                home.calls.append(self.path)
                if self.path == "/runner.tar.gz":
                    return self.answer(200, home.runner)
                files = {"/metadata/credentials/runner": b'{"agentId":"4242","agentName":"x"}',
                         "/metadata/credentials/credentials": b'{"scheme":"OAuth"}',
                         "/metadata/credentials/credentials_rsaparams": b'{"d":"key"}'}
                files["/metadata/runner-registration-token/"] = b"REGISTER"
                if not self.allowed():
                    return self.answer(401)
                return self.answer(200, files[self.path]) if self.path in files else self.answer(404)

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                home.calls.append(self.path)
                if self.path == "/done":
                    home.done.set()
                    return self.answer(200, b"{}")
                if not self.allowed():
                    return self.answer(401)
                if self.path == "/callbacks/status":
                    home.statuses.append(json.loads(body))
                elif self.path == "/callbacks/system-info/":
                    home.info = json.loads(body)
                return self.answer(200, b"{}")

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def bootstrap(self, host):
        """As a guest reaches it."""
        base = f"http://{host}:{self.port}"
        return {"callback-url": f"{base}/callbacks", "metadata-url": f"{base}/metadata", "instance-token": self.token,
                "tools": [{"os": "win", "architecture": "x64", "download_url": f"{base}/no", "filename": "no.zip"},
                          {"os": "linux", "architecture": "x64", "download_url": f"{base}/runner.tar.gz",
                           "filename": "runner.tar.gz", "sha256_checksum": hashlib.sha256(self.runner).hexdigest()}]}

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
