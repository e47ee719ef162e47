"""xterm.js with its attach add-on, and noVNC, as their authors ship them, in a page of another origin."""
import pytest
from browser import CHROMIUM, Pages
from rfb import Rfb
from rig import SLOW

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed")


@pytest.fixture(scope="module")
def pages():
    with Pages() as served:
        yield served


@pytest.fixture(scope="module")
def strangers():
    """The same pages from an origin that the daemon does not know."""
    with Pages() as served:
        yield served


@pytest.fixture(scope="module")
def rig(capabilities, pages):
    from rig import Rig
    with Rig(keep=capabilities, settings={"allowed_origins": pages.origin, "ticket_seconds": 300}) as r:
        yield r


def ticket(rig, vm, stream="console", mode="control"):
    answer = rig.api.post("/v1/tickets", {"vm": vm, "stream": stream, "mode": mode})
    assert answer.status == 201, answer
    return answer.json["url"]


GREETING = "Hello from the boot sector. I echo."


def test_xterm_with_the_attach_addon(rig, hello, pages):
    said = pages.run("xterm.html", url=ticket(rig, hello), greeting=GREETING, type="<ls -l>", expect="<ls -l>")
    assert said["protocol"] == "" and said["screen"].startswith(GREETING)
    assert "ls -l" in said["screen"] and "käse" in said["screen"]
    typed = rig.log_raw(hello).body
    assert "<ls -l>käse".encode() in typed


def test_a_watching_xterm_sees_and_cannot_type(rig, hello, pages):
    before = rig.log_raw(hello).body
    said = pages.run("xterm.html", url=ticket(rig, hello, mode="view"), greeting=GREETING, type="NEVER", expect=GREETING,
                     silent=True)
    assert GREETING in said["screen"]
    assert rig.log_raw(hello).body == before


def test_a_page_of_an_unknown_origin_is_refused_and_spends_nothing(rig, hello, pages, strangers):
    url = ticket(rig, hello)
    assert strangers.run("xterm.html", url=url, greeting=GREETING, type="x", expect="x") == {"closed": 1006}
    said = pages.run("xterm.html", url=url, greeting=GREETING, type="mine", expect="mine")
    assert "mine" in said["screen"]


def test_a_used_ticket_opens_nothing(rig, hello, pages):
    url = ticket(rig, hello)
    pages.run("xterm.html", url=url, greeting=GREETING, type="once", expect="once")
    assert pages.run("xterm.html", url=url, greeting=GREETING, type="x", expect="x") == {"closed": 1006}


@pytest.fixture(scope="module")
def screen(rig):
    """A guest with a screen, which repeats the keys of its keyboard on its serial port."""
    vm = rig.create("keys", display=True, wait="console")["id"]
    with rig.console(vm) as c:
        c.expect(rb"Type\.\r\n")
    return vm


def test_novnc_shows_the_screen_and_types(rig, screen, pages):
    with rig.console(screen, mode="view") as console:
        console.expect(rb"Type\.\r\n")
        with pages.open("novnc.html", url=ticket(rig, screen, "display"), key="d") as report:
            said = report()
            assert said["width"] >= 320 and said["height"] >= 200
            console.expect(rb"d")
            pages.go.set()
            assert report() == {"clean": True}


@pytest.mark.parametrize("protocols", [[], ["binary"]])
def test_novnc_only_watches(rig, screen, pages, protocols):
    """Its keys go out, because it does not know that it may only watch; none arrives."""
    before = rig.log_raw(screen).body
    with pages.open("novnc.html", url=ticket(rig, screen, "display", mode="view"), key="n",
                    protocols=protocols) as report:
        assert report()["width"] >= 320
        pages.go.set()
        assert report() == {"clean": True}
    with rig.console(screen, from_=len(before)) as console, rig.websocket(
            f"/v1/vms/{screen}/display", timeout=SLOW) as socket:
        Rfb(socket).key("k")
        console.expect(rb"k")
        assert console.received == b"k"


def test_novnc_of_an_unknown_origin_is_refused(rig, screen, strangers):
    assert "broken" in strangers.run("novnc.html", url=ticket(rig, screen, "display"), key="x")
