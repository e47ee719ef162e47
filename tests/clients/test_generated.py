"""Clients that generators make of openapi.yaml: compiled in strict mode, and used. openapi-typescript makes
types; openapi-ts writes a function for each operation, as the generators of other languages do."""
import os
import re
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
    for file in (f for f in SOURCES.iterdir() if f.is_file()):
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


@pytest.fixture(scope="module")
def functions(tmp_path_factory):
    """functions/main.ts beside the functions made of the contract, as JavaScript."""
    where = tmp_path_factory.mktemp("functions")
    for file in (SOURCES / "functions").iterdir():
        shutil.copy(file, where)
    (where / "node_modules").symlink_to(modules())
    node(where, "node_modules/@hey-api/openapi-ts/bin/index.cjs", "-i", TESTS.parent / "openapi.yaml", "-o", "client",
         "-c", "@hey-api/client-fetch")
    node(where, "node_modules/typescript/bin/tsc", "-p", ".", "--outDir", "out")
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


def test_generated_functions_work(rig, functions):
    said = node(functions, "out/main.js", DROVER_URL=rig.url, DROVER_TOKEN=rig.admin_token())
    assert said.splitlines() == ["host true", "made functions stopped, once: true", "listed true", "changed by a generated function",
                                 "refused 412 precondition-failed", "wrong validation-failed /name", "pool 0", "deleted succeeded"]
    assert rig.api.get("/v1/vms/functions").status == rig.api.get("/v1/pools/functions").status == 404


def test_every_operation_is_a_function(functions):
    """None was dropped for what the generator does not understand."""
    made = (functions / "client/sdk.gen.ts").read_text(encoding="utf-8")
    with open(TESTS.parent / "openapi.yaml", encoding="utf-8") as file:
        operations = re.findall(r"^      operationId: (\w+)$", file.read(), re.MULTILINE)
    assert len(operations) > 130
    assert [o for o in operations if f"export const {o} = <" not in made] == []
