"""Health, the contract, its page, the dashboard."""
import json

import yaml


def test_livez_and_readyz_need_no_credential(daemon):
    nobody = daemon.client(token=None)
    assert nobody.get("/livez").json == {"status": "ok"}
    ready = nobody.get("/readyz")
    assert ready.status == 200 and ready.json["status"] == "ready"
    assert {"database", "libvirt"} <= {p["name"] for p in ready.json["parts"]}


def test_readyz_says_why_not(fresh_daemon):
    daemon = fresh_daemon(libvirt="test+unix:///default?socket=/nonexistent/libvirt-sock", ready=False)
    nobody = daemon.client(token=None)
    assert nobody.get("/livez").status == 200
    response = nobody.get("/readyz")
    assert response.status == 503 and response.json["status"] == "unready"
    libvirt = next(p for p in response.json["parts"] if p["name"] == "libvirt")
    assert not libvirt["ok"] and libvirt["cause"]
    api = daemon.client()
    assert api.get("/v1/vms").status == 200, "reads work without libvirt"
    host = api.get("/v1/host").json
    assert host["libvirt"]["connected"] is False and host["libvirt"]["reason"]
    checks = {c["id"]: c for c in api.get("/v1/host/checks").json["items"]}
    assert not checks["libvirt"]["ok"] and checks["libvirt"]["fix"]
    assert "drover_libvirt_up 0" in api.get("/metrics").text


def test_the_contract_is_served_as_it_is(daemon, contract):
    nobody = daemon.client(token=None)
    text = nobody.get("/openapi.yaml")
    assert text.header("Content-Type") == "application/yaml"
    assert yaml.safe_load(text.body) == contract.document
    assert json.loads(nobody.get("/openapi.json").body) == contract.document


def test_etags_save_the_second_transfer(daemon):
    nobody = daemon.client(token=None)
    for path in ("/openapi.yaml", "/openapi.json", "/docs", "/assets/docs.css", "/"):
        first = nobody.get(path)
        assert first.status == 200, path
        again = nobody.get(path, headers={"If-None-Match": first.header("ETag")})
        assert again.status == 304 and again.body == b"" and again.header("ETag") == first.header("ETag")
        assert nobody.get(path, headers={"If-None-Match": '"other"'}).status == 200


def test_gzip_when_asked_for(daemon):
    import gzip
    nobody = daemon.client(token=None)
    plain, packed = nobody.get("/docs"), nobody.get("/docs", headers={"Accept-Encoding": "br, gzip;q=0.8"})
    assert plain.header("Content-Encoding") is None and packed.header("Content-Encoding") == "gzip"
    assert gzip.decompress(packed.body) == plain.body and len(packed.body) < len(plain.body) / 3
    assert "Accept-Encoding" in packed.header("Vary")


def test_pages_have_a_strict_policy(daemon):
    nobody = daemon.client(token=None)
    for path in ("/", "/docs"):
        response = nobody.get(path)
        policy = response.header("Content-Security-Policy")
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert response.header("X-Content-Type-Options") == "nosniff"
        assert response.header("Referrer-Policy") == "no-referrer"


def test_the_dashboard_and_what_it_refers_to(daemon):
    import re
    nobody = daemon.client(token=None)
    page = nobody.get("/").text
    assert "<script>" not in page and " style=" not in page
    for link in re.findall(r'(?:src|href)="([^"#]+)"', page):
        assert link.startswith(("/", "data:", "assets/", "./")), link
        if not link.startswith("data:"):
            assert nobody.get("/" + link.lstrip("./")).status == 200, link


def test_problems_lead_to_their_paragraph(daemon, contract):
    nobody = daemon.client(token=None)
    page = nobody.get("/docs").text
    for problem in contract.document["x-problems"]:
        response = nobody.get(f"/problems/{problem['code']}")
        assert response.status == 302
        anchor = response.header("Location").split("#")[1]
        assert f'id="{anchor}"' in page
    assert nobody.get("/problems/none").status == 404
    assert nobody.get("/problems/made-up").code == "not-found"


def test_the_offer(api):
    offer = api.get("/v1").json
    assert "v1" in offer["versions"] and "images" in offer["features"]
