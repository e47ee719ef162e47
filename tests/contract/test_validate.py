"""The validator itself: what it accepts and what it must not."""
import copy
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from validate import Contract, Coverage  # noqa: E402

CONTRACT = Contract()
VM = CONTRACT.document["components"]["examples"]["Vm"]["value"]


def exchange(status, value, method="GET", path="/v1/vms/hello", kind="application/json"):
    return {"method": method, "path": path, "status": status,
            "headers": [["Content-Type", kind], ["X-Request-Id", "r-1"]], "body": json.dumps(value)}


def problem(code, **more):
    row = next(p for p in CONTRACT.document["x-problems"] if p["code"] == code)
    value = {"type": f"/problems/{code}", "title": row["title"], "status": row["status"], "code": code,
             "instance": "urn:drover:request:r-1", **more}
    return exchange(value["status"], value, kind="application/problem+json")


def test_a_good_answer_passes():
    assert CONTRACT.check(exchange(200, VM)) == []


def test_an_unknown_member_is_found():
    assert CONTRACT.check(exchange(200, {**VM, "extra": 1}))


def test_a_missing_member_is_found():
    vm = copy.deepcopy(VM)
    del vm["state_reason"]
    assert CONTRACT.check(exchange(200, vm))


def test_a_wrong_type_deep_down_is_found():
    vm = copy.deepcopy(VM)
    vm["networks"][0]["mac"] = 7
    assert CONTRACT.check(exchange(200, vm))


def test_an_undocumented_status_is_found():
    assert CONTRACT.check(exchange(206, VM))


def test_an_undocumented_content_type_is_found():
    assert CONTRACT.check(exchange(200, VM, kind="text/html"))


def test_listed_problems_pass():
    assert CONTRACT.check(problem("vm-not-found", detail="no")) == []


def test_general_problems_pass_anywhere():
    assert CONTRACT.check(problem("malformed-request")) == []


def test_a_problem_not_listed_for_the_operation_is_found():
    assert CONTRACT.check(problem("image-in-use"))


def test_a_problem_of_another_request_is_found():
    assert CONTRACT.check(problem("vm-not-found", instance="urn:drover:request:r-2"))


def test_an_invented_code_is_found():
    bad = problem("vm-not-found")
    bad["body"] = bad["body"].replace("vm-not-found", "vm-lost")
    assert CONTRACT.check(bad)


def test_an_error_page_that_is_not_a_problem_is_found():
    assert CONTRACT.check(exchange(404, {"error": "no"}, path="/nowhere"))


def test_a_body_where_none_is_documented_is_found():
    assert CONTRACT.check(exchange(204, {}, method="DELETE", path="/v1/tokens/abc"))


def test_literal_paths_win_over_parameters():
    assert CONTRACT.find("GET", "/v1/vms/x/console/log").id == "getConsoleLog"
    assert CONTRACT.find("PUT", "/v1/images/x/content/kernel").id == "putImageKernel"
    assert CONTRACT.find("GET", "/v1/vms/x/y/z") is None


def test_coverage_names_what_is_missing():
    coverage = Coverage(CONTRACT)
    coverage.add(exchange(404, {}))
    assert "getVm" not in coverage.missing() and "getVm" in coverage.never_succeeded()
    assert "listVms" in coverage.missing()
