"""The authorisation matrix: every operation of the contract x every credential x own, another's, nobody's thing.

tests/support/rights.py says who may do what. An operation without a row there fails, and so does a kind of thing
that nobody owns in ownership.py.
"""
import http.client
import json
import os
from urllib.parse import urlsplit

import ownership
import pytest
from api_client import Client, Response
from conftest import CONTRACT
from daemon import Daemon
from ownership import MAKES_BY_NAME, OPERATIONS, PARTS, UUID, ask, kind, made, missing, shape
from rights import (ADMIN, ANY_CREDENTIAL, EVERYBODY, FURTHER, HOST_ONLY, INSTALLATIONS, MADE_BY_OTHERS, RIGHTS, ROLES,
                    TWO_KEYS)

REFUSED = (401, 403)
# Signing out ends what it was asked with; there is no project of one's own to try it on.
LEFT_OUT = {"endSession"}
EACH = pytest.mark.parametrize("operation", [o for o in OPERATIONS if o.id not in LEFT_OUT], ids=lambda o: o.id)


class Caller(Client):
    """Keeps its connection, and checks and records nothing unless told to: there are thousands of requests here."""

    def __init__(self, like, token):
        super().__init__(like.url, token)
        self.record, self.kept = None, None

    def request(self, method, path, value=None, **kw):
        if kw.keys() - {"headers"}:
            return super().request(method, path, value, **kw)
        for fresh in (self.kept is None, True):
            if fresh:
                self.kept = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=60)
            try:
                return self._once(method, path, value, kw.get("headers"))
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                assert not fresh, f"{method} {path}: no answer"
        raise AssertionError

    def _once(self, method, path, value, headers):
        sent, body = self.all_headers(headers), None
        if value is not None:
            body = json.dumps(value).encode()
            sent.setdefault("Content-Type", "application/json")
        self.kept.request(method, path, body=body, headers=sent)
        answer = self.kept.getresponse()
        response = Response(answer.status, answer.getheaders(), answer.read())
        if response.status == 101 or answer.will_close:
            self.kept.close()
            self.kept = None
        if self.check:
            self.observe(method, path, response)
        return response


@pytest.fixture(scope="module")
def daemon():
    with Daemon(settings={"webhook_private": 1}) as d:
        yield d


@pytest.fixture(scope="module")
def admin(daemon):
    return daemon.client()


@pytest.fixture(scope="module")
def owned(admin):
    made(admin.post("/v1/projects", {"name": "other"}))
    return ownership.make(admin)


@pytest.fixture(scope="module")
def theirs(admin, owned):
    return ownership.make(admin, project="other")


@pytest.fixture(scope="module")
def caller(daemon, admin, theirs):
    """caller(role, scopes, project), each made once; caller(None) has no credential."""
    made_ones = {}

    def find(role, scopes=None, project="default"):
        key = (role, frozenset(scopes or ()), project)
        if key not in made_ones:
            body = {"name": "matrix", "role": role, **({"scopes": sorted(scopes)} if scopes else {})}
            token = made(admin.post("/v1/tokens", body, project=project))["token"] if role else None
            made_ones[key] = Caller(daemon.client(token=None), token)
        return made_ones[key]

    return find


def things(operation, owned, theirs):
    """(own, another project's, nobody's) for each way to name it; None where there is nothing to name."""
    name = kind(operation)
    if not name:
        return [(None,)]
    if name == "recording":
        return [(missing(name, "0" * 8 + "-0000" * 3 + "-" + "0" * 12),)]
    assert name in owned, f"{operation.path}: nobody owns a {name} in ownership.py"
    return [(own, other, missing(name, own)) for own, other in zip(owned[name], theirs[name])]


def needs(operation):
    return set() if RIGHTS[operation.id] in (EVERYBODY, ANY_CREDENTIAL) else {RIGHTS[operation.id]}


def full(operation):
    """With these scopes nothing of it is refused, whatever it is asked for."""
    return needs(operation).union(*(also for _, _, also in FURTHER.get(operation.id, ())))


def assert_lets_in(answer, what):
    assert answer.status not in REFUSED and answer.status != 500, f"{what}: {answer}"


def assert_refuses(answers, scope, what):
    """All alike, whether it is there or whose it is, and naming what is missing."""
    assert {a.status for a in answers} == {403} and answers[0].code == "forbidden", f"{what}: {answers}"
    assert scope in answers[0].json["detail"], f"{what}: {answers[0]}"
    assert all(shape(a) == shape(answers[0]) for a in answers), f"{what}: {answers}"


def test_every_operation_has_a_row_and_the_contract_says_the_same():
    assert {o.id: o.node["x-scope"] for o in OPERATIONS} == RIGHTS
    assert FURTHER.keys() <= RIGHTS.keys()
    assert set().union(*ROLES.values()) == ADMIN and set(RIGHTS.values()) - {EVERYBODY, ANY_CREDENTIAL} <= ADMIN


def test_roles_are_what_the_table_says(caller):
    for role, scopes in ROLES.items():
        assert set(caller(role).get("/v1/session").json["scopes"]) == scopes
        assert set(caller(role, project="other").get("/v1/session").json["scopes"]) == scopes - HOST_ONLY


@EACH
def test_without_a_credential(caller, owned, theirs, operation):
    for refs in things(operation, owned, theirs):
        answers = [ask(caller(None), operation, ref) for ref in refs]
        if RIGHTS[operation.id] == EVERYBODY:
            assert operation.id == "createSession" or answers[0].status != 401, answers
        else:
            assert all(a.status == 401 and shape(a) == shape(answers[0]) for a in answers), answers


@EACH
def test_each_scope_opens_its_door_and_no_other(caller, owned, theirs, operation):
    """Alone, and all but it."""
    scopes = needs(operation)
    for refs in things(operation, owned, theirs):
        if not scopes:
            for scope in sorted(ADMIN):
                assert_lets_in(ask(caller("admin", {scope}), operation, refs[-1]), scope)
            continue
        scope = RIGHTS[operation.id]
        for number, alone in enumerate(sorted(ADMIN - scopes)):
            assert_refuses([ask(caller("admin", {alone}), operation, refs[number % len(refs)])], scope, alone)
        assert_refuses([ask(caller("admin", ADMIN - scopes), operation, ref) for ref in refs], scope, "all but")
        enough = full(operation) if operation.id in TWO_KEYS else scopes
        assert_lets_in(ask(caller("admin", enough), operation, refs[-1]), scope)


@EACH
def test_each_role_with_anothers_and_with_nothing(caller, owned, theirs, operation):
    """What is another project's is, byte for byte, what is not there; and a refusal does not look at it at all."""
    for project, mine in (("default", 0), ("other", 1)):
        for role, scopes in ROLES.items():
            client = caller(role, project=project)
            has = scopes if project == "default" else scopes - HOST_ONLY
            for refs in things(operation, owned, theirs):
                if needs(operation) - has:
                    assert_refuses([ask(client, operation, ref) for ref in refs], RIGHTS[operation.id], role)
                    continue
                if project != "default" and operation.id in INSTALLATIONS:
                    assert_refuses([ask(client, operation, ref) for ref in refs], "installation", role)
                    continue
                if len(refs) < 3:
                    assert_lets_in(ask(client, operation, refs[0]), role)
                    continue
                foreign, none = refs[1 - mine], refs[2]
                # A name both use is one's own; and who looks after projects sees all of them.
                if foreign == refs[mine] or kind(operation) == "project" and "project:write" in has:
                    continue
                if operation.id in MAKES_BY_NAME and not UUID.fullmatch(foreign):
                    continue
                two = [ask(client, operation, ref) for ref in (foreign, none)]
                assert two[0].status >= 400 and two[0].status not in REFUSED, f"{role}: {two}"
                assert shape(two[0], foreign) == shape(two[1], none), f"{role} of {project}: {two}"


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if o.id in FURTHER], ids=lambda o: o.id)
def test_what_needs_more_than_one_scope(caller, owned, theirs, operation):
    for query, body, scopes in FURTHER[operation.id]:
        for refs in things(operation, owned, theirs):
            for scope in sorted(scopes):
                short = caller("admin", ADMIN - {scope})
                assert_refuses([ask(short, operation, ref, query, body) for ref in refs], scope, query)
            if refs[-1] is not None:
                assert_lets_in(ask(caller("admin", scopes), operation, refs[-1], query, body), query)


def test_nothing_of_what_was_asked_for_happened(admin, daemon, owned, theirs, caller):
    """After all of the above both projects are as they were, and no list of one tells of the other."""
    outsider = caller("admin", project="other")
    for where in ({}, {"project": "other"}):
        assert admin.get("/v1/vms/own-vm", **where).json["state"] == "stopped"
        for path, count in (("/v1/vms", 3), ("/v1/images", 1), ("/v1/leases", 1), ("/v1/sets", 1), ("/v1/webhooks", 1),
                            ("/v1/tickets", 1), ("/v1/recordings", 0)):
            assert len(admin.get(path, **where).json["items"]) == count, (path, where)
    assert [p["name"] for p in outsider.get("/v1/projects").json["items"]] == ["other"]
    for refs in owned.values():
        for ref in refs:
            if UUID.fullmatch(ref):
                for path in ("/v1/events?limit=1000", "/metrics", "/v1/ksm/density", "/v1/quotas", "/v1/host",
                             "/v1/vms", "/v1/images", "/v1/leases", "/v1/webhooks", "/v1/operations", "/v1/stats"):
                    assert ref not in outsider.get(path).text, f"{path} tells of {ref}"


@pytest.mark.parametrize("role", ROLES)
def test_one_s_own(daemon, caller, admin, theirs, role):
    """With one's role: everything it has is let in to one's own things, everything else is not. Deletions last."""
    project = f"own-{role}"
    # Whoever was let in to it above has said that the host goes down.
    assert admin.post("/v1/host/start-guests").status == 200
    made(admin.post("/v1/projects", {"name": project}))
    mine = ownership.make(admin, project=project)
    client = caller(role, project=project)
    client.check, client.record = CONTRACT.check, os.environ.get("DROVER_RECORD")
    has = ROLES[role] - HOST_ONLY
    mine["pool"].reverse()  # it is made by its name
    order = sorted((o for o in OPERATIONS if kind(o) and kind(o) not in ("recording", "project")),
                   key=lambda o: (o.method == "DELETE", o.path.count("/") < 4))
    for operation in order:
        if operation.id == "waitForVm":
            continue
        value = mine[kind(operation)][0]
        answer = ask(client, operation, value)
        short = needs(operation) | {MADE_BY_OTHERS.get(operation.id, RIGHTS[operation.id])}
        if short - has:
            assert_refuses([answer], min(short - has), operation.id)
        else:
            assert_lets_in(answer, operation.id)
            deeper = len(ownership.parameters(operation)) > 1 or operation.path.count("/") > 3
            assert deeper or answer.status < 300 or answer.status in (409, 422, 501), f"{operation.id}: {answer}"
