"""docs/limits.md against the program, both ways: what it says is so, and what there is, it says.

Each limit of a request and of a number of things is tried just inside, at it, just beyond and at twice it; rows of
settings and of members are those of the tables that the daemon and test_limits.py go by.
"""
import json
import os
import re
import subprocess

import pytest
from conftest import CONTRACT
from daemon import BUILD, ROOT, Daemon
from limits_table import DOCUMENT, SECTIONS, rows, settings, table_of
from pipelined import Client

TEXT = DOCUMENT.read_text(encoding="utf-8")
LONG = bool(os.environ.get("DROVER_TEST_LONG"))


def documented(heading):
    begin, end = table_of(TEXT, heading)
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in TEXT[begin:end].splitlines()]


@pytest.fixture(scope="module")
def daemon():
    with Daemon(settings={"auth_failures_per_minute": 100000, "webhook_private": "true"}) as d:
        yield d


@pytest.fixture(scope="module")
def ask(daemon):
    """ask(method, path, body=b"", **headers) is (status, code)."""
    client = Client(daemon.url, 1)

    def one(method, path, body=b"", headers=()):
        lines = [f"{method} {path} HTTP/1.1", f"Host: {daemon.address}", f"Authorization: Bearer {daemon.admin_token()}", *headers]
        if body:
            lines += [f"Content-Length: {len(body)}", "Content-Type: application/json"]
        answer = next(a for _, a in client.exchange([("", "\r\n".join([*lines, "", ""]).encode() + body)]))
        client.close()
        return answer.status, json.loads(answer.body)["code"] if b"problem+json" in answer.head else ""
    yield one
    client.close()


def text_body(size):
    return b'{"name":"' + b"a" * (size - 11) + b'"}'


# A request with so many of it. Two headers are there anyway.
REQUESTS = {
    "headers of a request, Host and its like included": lambda ask, n: ask("GET", "/v1/vms", headers=["X-A: a"] * (n - 2)),
    "bytes of the path between two slashes, decoded": lambda ask, n: ask("GET", "/v1/vms/" + "%61" * n),
    "bytes of a query": lambda ask, n: ask("GET", "/v1/vms/none?" + "&".join(["x=" + "a" * 510] * (n // 513) + ["x" * (n % 513)])),
    "arguments of a query": lambda ask, n: ask("GET", "/v1/vms/none?" + "&".join(["x=a"] * n)),
    "`label=` arguments of a list": lambda ask, n: ask("GET", "/v1/vms?" + "&".join(["label=a%3Db"] * n)),
    "bytes of an Idempotency-Key": lambda ask, n: ask("POST", "/v1/vms/none/start", headers=["Idempotency-Key: " + "a" * n]),
    "bytes of a JSON body (`body_limit_bytes`)": lambda ask, n: ask("POST", "/v1/tokens", text_body(n)),
    "bytes of a JSON body that may have user data (and `user_data_limit_bytes`)": lambda ask, n: ask("POST", "/v1/vms", text_body(n)),
    "levels of a JSON body (`json_depth`)": lambda ask, n: ask("POST", "/v1/tokens", b'{"a":' * (n - 1) + b"{}" + b"}" * (n - 1)),
    "values in a JSON body (`json_tokens`)": lambda ask, n: ask("POST", "/v1/tokens", b"[" + b",".join([b"1"] * (n - 1)) + b"]"),
}


def expected(cell):
    status, code = re.fullmatch(r"(\d+) `([a-z-]+)`", cell).groups()
    return int(status), code


@pytest.mark.parametrize("what,limit,beyond", documented("## Requests"))
def test_a_request_at_its_limit_and_beyond(ask, what, limit, beyond):
    probe, limit = REQUESTS[what], int(limit)
    for n in (limit - 1, limit):
        assert probe(ask, n) != expected(beyond), n
    for n in (limit + 1, 2 * limit):
        assert probe(ask, n) == expected(beyond), n


def test_the_header_as_a_whole(ask):
    assert ask("GET", "/v1/vms", headers=["X-A: " + "a" * (19000 - 200)])[0] == 200
    assert "19,000 bytes" in TEXT and "20,480" in TEXT
    for size in (20480, 2 * 20480):
        assert ask("GET", "/v1/vms", headers=["X-A: " + "a" * size])[0] == 431


# The body that makes one more, and how long a list of them is wanted before; 1: what is there at the start.
THINGS = {
    "projects of an installation": ("/v1/projects", lambda n: {"name": f"p-{n}"}, 1),
    "webhooks of an installation": ("/v1/webhooks", lambda n: {"url": "http://127.0.0.1:9/x", "enabled": False}, 0),
    "tickets of one token that can be used": ("/v1/tickets", lambda n: {"vm": "limits", "stream": "console", "expires_in_seconds": 3600}, 0),
    "API tokens of an installation": ("/v1/tokens", lambda n: {"name": "x", "role": "viewer"}, 1),
    "browser sessions of an installation": ("/v1/session", None, 0),
}
MANY = 1000


@pytest.mark.parametrize("what,limit,beyond", documented("## Things"))
def test_so_many_and_no_more(fresh_daemon, what, limit, beyond):
    path, make, there = THINGS[what]
    limit = int(limit)
    if limit > MANY and not LONG:
        pytest.skip("thousands of them, with --long")
    d = fresh_daemon(settings={"webhook_private": "true"})
    assert d.client().post("/v1/vms", {"name": "limits", "memory_mib": 16}).status == 201
    token, client = d.admin_token(), Client(d.url)
    head = f"POST {path} HTTP/1.1\r\nHost: {d.address}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"

    def request(n):
        body = json.dumps(make(n) if make else {"token": token}).encode()
        return "", f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    answers = [a for _, a in client.exchange([request(n) for n in range(2 * limit)])]
    client.close()
    taken, refused = [a for a in answers if a.status < 300], [a for a in answers if a.status >= 300]
    assert len(taken) == limit - there
    assert {(a.status, json.loads(a.body)["code"]) for a in refused} == {expected(beyond)}


def test_every_row_is_tried():
    assert [row[0] for row in documented("## Requests")] == list(REQUESTS)
    assert [row[0] for row in documented("## Things")] == list(THINGS)


@pytest.mark.parametrize("section", SECTIONS)
def test_the_rows_are_those_of_the_tables(section):
    """tests/support/limits_table.py writes them anew."""
    begin, end = table_of(TEXT, SECTIONS[section])
    assert TEXT[begin:end].splitlines() == rows(CONTRACT)[section]


# Bounds that a client does not meet as a refusal: of memory, of what a guest or a server may send, of what is shown.
INNER = {
    "FRONT_FRAME_MAX", "FRONT_DATA_MAX", "FRONT_INLINE_MAX", "HTTP_LISTENERS_MAX", "REQUEST_PARAMS_MAX", "RESPONSE_HEADERS_MAX", "METRIC_LABELS_MAX", "ACCESS_ADDRESSES_MAX",
    "CAST_LINE_MAX", "CATALOGUE_INDEX_MAX", "CONSOLE_FILE_DATA_MAX", "CONSOLE_SCAN_TEXT_MAX", "EXEC_LIST_MAX", "GUEST_USERS_MAX",
    "GUEST_FILESYSTEMS_MAX", "GUEST_INTERFACES_MAX", "GUEST_ADDRESSES_MAX", "GUEST_OUTPUT_MAX", "GUEST_FOUND_MAX", "GUEST_STRING_MAX",
    "GUEST_LINE_MAX", "GUEST_SENT_MAX", "HISTORY_POINTS_MAX", "IMAGE_CHECKS_MAX", "POOL_BACKOFF_MAX", "NOTIFY_MESSAGE_MAX",
    "PICTURE_BYTES_MAX", "DEAR_WORKERS_MAX", "WEBHOOK_SECRET_MAX", "WS_FRAME_MAX", "IMAGE_SCREENSHOT_MAX", "CONSOLE_V1_FRAME_MAX",
    "CONSOLE_V1_NAME_MAX", "CONSOLE_V1_SIZE_MAX", "CONSOLE_V1_TEXT_MAX", "CONSOLE_V1_VIEWERS_MAX", "EXEC_V1_FRAME_MAX", "EXEC_V1_TEXT_MAX",
    "GUEST_TASKS_MAX", "ACCESS_ONCE_MAX", "QUOTA_MAX", "STREAM_NAME_MAX", "ACCESS_TOKEN_LIFE_MAX_S", "PATTERN_TEXT_MAX"}
# Those whose rows are not found by their number; a query's text has an end for each of its arguments.
OUTER = {"QUERY_TEXT_MAX": "4032", "GUEST_STDIN_MAX": "262144"}


def constants():
    for folder in ("api", "service/vm"):
        for path in sorted((ROOT / folder).rglob("*.h")):
            yield from re.findall(r"^#define\s+(\w+_MAX\w*)\s+(.+?)(?:\s*/\*.*)?$", path.read_text(encoding="utf-8"), re.M)


def test_every_bound_of_the_program_has_its_row():
    numbers = {cell for heading in ("## Requests", "## Things") for row in documented(heading) for cell in row[1:2]}
    numbers |= {cell for heading in SECTIONS.values() for row in documented(heading) for cell in row[1:4]}
    for name, value in constants():
        if name in INNER:
            continue
        value = OUTER.get(name) or str(eval(value)) if re.fullmatch(r"[\d *()+]+", value) else value # pylint: disable=eval-used
        assert OUTER.get(name, value) in numbers, f"{name} ({value}) has no row"


def check_config(name, value):
    return subprocess.run([BUILD / "droverd", "--check-config", f"--{name.replace('_', '-')}={value}"], capture_output=True,
                          text=True, timeout=60, check=False)


@pytest.mark.parametrize("name,default,least,most", settings())
def test_a_settings_range(name, default, least, most):
    """As a command line has it; the unit tests try every edge of each number."""
    for wrong in (int(least) - 1, int(most) + 1):
        told = check_config(name, wrong)
        assert told.returncode == 2 and name in told.stderr, (wrong, told)
    assert int(least) <= int(default) <= int(most)


def test_the_settings_are_the_programs():
    done = subprocess.run([BUILD / "droverd", "--dump", "settings"], capture_output=True, text=True, timeout=60, check=True)
    numbers = [row for row in json.loads(done.stdout) if row["type"] == "integer"]
    assert [row[0].strip("`") for row in documented("## Settings")] == [row["name"] for row in numbers]
