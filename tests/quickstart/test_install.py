"""What `meson install` puts below a prefix, which is what the Debian package holds."""
import os
import re
import subprocess
from pathlib import Path

import pytest

BUILD = Path(os.environ.get("DROVER_RELEASE_BUILD", Path(__file__).resolve().parents[2] / "build"))


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    there = tmp_path_factory.mktemp("install", numbered=True)
    done = subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", there], capture_output=True, text=True,
                          timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (there / "usr/sbin/droverd").exists(), "configure it with --prefix /usr"
    return there


def test_the_programs_run_from_there(tree):
    for program, status in (("usr/sbin/droverd", 0), ("usr/bin/drover", 0), ("usr/libexec/drover-ksm-helper", 2),
                            ("usr/libexec/drover-front", 2)):
        done = subprocess.run([tree / program, "--help"], capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == status and Path(program).name in done.stdout + done.stderr, (program, done)


def test_units_name_programs_and_folders_that_are_installed(tree):
    units = sorted((tree / "lib/systemd/system").glob("*"))
    assert {u.name for u in units} == {"droverd.service", "droverd.socket", "droverd.service.d", "drover-ksm.service",
                                       "drover-ksm.socket", "drover-guests.service"}
    text = "".join(u.read_text() for u in (tree / "lib/systemd/system").rglob("*") if u.is_file())
    ours = set(re.findall(r"^Exec\w+=(/usr/\S*drover\S*)", text, re.MULTILINE))
    assert ours == {"/usr/sbin/droverd", "/usr/libexec/drover-ksm-helper", "/usr/bin/drover"}
    assert all((tree / program[1:]).exists() for program in ours)
    (user,) = re.findall(r"^u (\S+)", (tree / "usr/lib/sysusers.d/drover.conf").read_text(), re.MULTILINE)
    assert f"User={user}\n" in text and f"SocketUser={user}\n" in text
    folders = re.findall(r"^[df] (\S+)", (tree / "usr/lib/tmpfiles.d/drover.conf").read_text(), re.MULTILINE)
    assert {"/var/lib/drover", "/etc/drover/drover.conf"} <= set(folders)


def test_the_configuration_it_makes_is_one_the_daemon_takes(tree, tmp_path):
    line = re.search(r"^f /etc/drover/drover.conf .* - (.*)$", (tree / "usr/lib/tmpfiles.d/drover.conf").read_text(), re.MULTILINE)
    conf = tmp_path / "drover.conf"
    conf.write_text(line[1] + "\n")
    done = subprocess.run([tree / "usr/sbin/droverd", "--check-config", "--config", conf, "--state-dir", tmp_path],
                          capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr


def test_there_are_manual_pages_completions_and_examples(tree):
    for page, section in (("drover", 1), ("drover.conf", 5), ("droverd", 8)):
        assert ".SH NAME" in (tree / f"usr/share/man/man{section}/{page}.{section}").read_text()
    assert "complete" in (tree / "usr/share/bash-completion/completions/drover.bash").read_text()
    assert (tree / "usr/share/fish/vendor_completions.d/drover.fish").stat().st_size
    assert (tree / "usr/share/zsh/vendor-completions/_drover").read_text().startswith("#compdef drover")
    assert os.access(tree / "usr/share/drover/ci/github/jit-runner", os.X_OK)
    assert (tree / "usr/share/doc/drover/examples/systemd/embedded.conf").exists()
