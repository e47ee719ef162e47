"""GitLab Runner as its custom executor sees it: the environment, files, arguments, stages, retries and
verdicts of `executors/custom`, as its documentation tells them. No GitLab, no network."""
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from pathlib import Path

BUILD_FAILURE, SYSTEM_FAILURE = 37, 41 # whatever they are: a driver has to read them
PREPARE_ATTEMPTS = 3


class SystemFailure(Exception):
    pass


class BuildFailure(Exception):
    def __init__(self, status):
        super().__init__(f"exit status {status}")
        self.status = status


class Job:
    """One job on one runner. config, prepare, run, cleanup: commands, as in config.toml."""

    def __init__(self, number, command, variables=None, env=None, config_args=(), response=True, driver_env=None):
        self.number, self.command, self.config_args = number, list(command), list(config_args)
        self.dir = Path(tempfile.mkdtemp(prefix="gitlab-runner-"))
        self.variables = {"CI": "true", "CI_JOB_ID": str(number), "CI_PROJECT_PATH": "group/project",
                          "CI_CONCURRENT_PROJECT_ID": "0", **(variables or {})}
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("DROVER_", "CUSTOM_ENV_"))}
        self.env.update(env or {})
        self.response = self.dir / "response.json" if response else None
        if response:
            self.response.write_text(json.dumps({"id": number, "token": "secret", "job_info": {"project_id": 77}}))
        self.exit_code_file = self.dir / "build_exit_code"
        self.job_env, self.config, self.log, self.running = {}, None, b"", None
        self.cleanup_log = b""

    def environment(self):
        env = {**self.env, **self.job_env, "TMPDIR": str(self.dir), "BUILD_FAILURE_EXIT_CODE": str(BUILD_FAILURE),
               "SYSTEM_FAILURE_EXIT_CODE": str(SYSTEM_FAILURE), "BUILD_EXIT_CODE_FILE": str(self.exit_code_file)}
        if self.response:
            env["JOB_RESPONSE_FILE"] = str(self.response)
        return {**env, **{f"CUSTOM_ENV_{k}": v for k, v in self.variables.items()}}

    def start(self, *args, separate=False):
        """The executable of a stage, in a process group of its own as the runner does it."""
        self.running = subprocess.Popen([*self.command, *args], cwd=self.dir, env=self.environment(),
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE if separate else subprocess.STDOUT,
                                        start_new_session=True)
        return self.running

    def execute(self, *args, separate=False, timeout=300):
        """What it printed; its verdict as an exception."""
        process = self.start(*args, separate=separate)
        if separate:
            out, err = process.communicate(timeout=timeout)
            self.log += err
        else:
            out, err = b"", b""
            while data := os.read(process.stdout.fileno(), 65536):
                out += data
                self.log += data
            process.wait(timeout)
            process.stdout.close()
        self.running = None
        self.judge(process.returncode, err or out)
        return out, err

    def judge(self, code, said):
        if code == 0:
            return
        if code == SYSTEM_FAILURE:
            raise SystemFailure(said.decode(errors="replace"))
        if code != BUILD_FAILURE:
            raise SystemFailure(f"unknown exit code {code}: {said.decode(errors='replace')}")
        text = self.exit_code_file.read_text().splitlines()[0] if self.exit_code_file.exists() else "1"
        raise BuildFailure(int(text))

    # ---- the stages ----

    def do_config(self):
        out, _ = self.execute("config", *self.config_args, separate=True)
        self.config = json.loads(out) if out else {}
        known = {"builds_dir": str, "cache_dir": str, "builds_dir_is_shared": bool, "hostname": str, "driver": dict,
                 "job_env": dict, "shell": str}
        for name, kind in known.items():
            assert isinstance(self.config.get(name, kind()), kind), (name, self.config)
        assert all(isinstance(v, str) for v in self.config.get("job_env", {}).values()), self.config
        self.job_env = self.config.get("job_env", {})

    def do_prepare(self):
        for attempt in range(1, PREPARE_ATTEMPTS + 1):
            try:
                self.do_config()
                self.execute("prepare")
                return
            except SystemFailure:
                if attempt == PREPARE_ATTEMPTS:
                    raise
                self.do_cleanup()

    def do_run(self, stage, text):
        where = Path(tempfile.mkdtemp(prefix="script", dir=self.dir))
        script = where / "script"
        script.write_text(text)
        script.chmod(0o700)
        return self.execute("run", str(script), stage)

    def do_cleanup(self):
        process = self.start("cleanup", separate=True)
        out, err = process.communicate(timeout=120)
        self.running = None
        self.cleanup_log += out + err
        return process.returncode

    def play(self, script, after=None):
        """The whole job; "success", "failed N" or "system failure", as the runner would report it."""
        try:
            self.do_prepare()
            verdict = self.stages(script, after)
        except SystemFailure as failure:
            self.log += f"ERROR: Job failed (system failure): {failure}\n".encode()
            verdict = "system failure"
        except BuildFailure as failure:
            verdict = f"failed {failure.status}"
        finally:
            self.do_cleanup()
        return verdict

    def stages(self, script, after):
        verdict = "success"
        self.do_run("prepare_script", "echo \"Running on $(uname -n) via drover...\"\n")
        self.do_run("get_sources", "mkdir -p /builds/project && cd /builds/project && echo sources >README\n")
        try:
            # in 17.0 it is still called so for custom executors
            self.do_run("build_script", f"set -e\ncd /builds/project\n{script}\n")
        except BuildFailure as failure:
            verdict = f"failed {failure.status}"
            self.exit_code_file.unlink(missing_ok=True)
        try:
            if after:
                self.do_run("after_script", f"cd /builds/project\n{after}\n")
        except BuildFailure:
            pass
        self.do_run("archive_cache" if verdict == "success" else "archive_cache_on_failure", "true\n")
        self.do_run("cleanup_file_variables", "rm -f /builds/project.tmp/*\n")
        return verdict

    # ---- ends ----

    def in_background(self, script, **kw):
        """play() on a thread; .result() waits for it."""
        outcome = []
        thread = threading.Thread(target=lambda: outcome.append(self.play(script, **kw)))
        thread.start()

        def result(seconds=300):
            thread.join(seconds)
            assert outcome, f"the job goes on and on: {self.log[-2000:]!r}"
            return outcome[0]
        return result

    def cancel(self, number=signal.SIGTERM):
        """What the runner does to a stage whose job was cancelled or took too long."""
        os.killpg(self.running.pid, number)

    def close(self):
        if self.running and self.running.poll() is None:
            os.killpg(self.running.pid, signal.SIGKILL)
            self.running.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
