"""A client that openapi-typescript makes of openapi.yaml: compiled in strict mode, and used."""
import os
import shutil
import subprocess

import pytest

from browser import HERE, modules
from rig import SLOW, TESTS

SOURCES = HERE / "generated"


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """main.ts beside the types made of the contract, as JavaScript."""
    where = tmp_path_factory.mktemp("generated")
    for file in SOURCES.iterdir():
        shutil.copy(file, where)
    (where / "package.json").write_text('{"type": "module"}')
    (where / "node_modules").symlink_to(modules())
    # Without the option members that have a default would have to be sent.
    node(where, "node_modules/openapi-typescript/bin/cli.js", TESTS.parent / "openapi.yaml", "-o", "schema.d.ts",
         "--default-non-nullable=false")
    node(where, "node_modules/typescript/bin/tsc", "-p", ".", "--outDir", "out")
    (where / "out/node_modules").symlink_to(modules())
    (where / "out/package.json").write_text('{"type": "module"}')
    return where


def node(where, *command, **environment):
    done = subprocess.run(["node", *command], cwd=where, env={**os.environ, **environment}, capture_output=True,
                          text=True, timeout=2 * SLOW, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_generated_client_works(rig, program):
    rig.ensure_image("hello")
    said = node(program, "out/main.js", DROVER_URL=rig.url, DROVER_TOKEN=rig.admin_token())
    assert said.splitlines() == ["made typed running", "listed true", "changed changed by a generated client",
                                 "refused 412 precondition-failed", "deleted succeeded"]
    assert rig.api.get("/v1/vms/typed").status == 404
