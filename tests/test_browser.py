"""Every page of the built book in a real browser: complete, offline, accessible, and no wider than a telephone.

`make check-pages` builds the book if it is not there and runs this; without a book or without Chromium it is skipped.
"""

import functools
import http.server
import threading
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "_build/html"
AXE = ROOT / "tests/vendor/axe-core/axe.min.js"
PAGES = sorted(path.relative_to(BOOK).as_posix() for path in BOOK.glob("**/*.html") if "_static" not in path.parts)
TELEPHONE, DESK = {"width": 360, "height": 740}, {"width": 1280, "height": 900}

pytestmark = pytest.mark.skipif(not PAGES, reason="there is no built book; make book builds it")


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves the book without a line in the log for each file."""

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address():
    """Where the book is served, on this machine."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=BOOK))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@dataclass
class Visit:
    """What a browser noticed on one page."""

    console: list = field(default_factory=list)
    elsewhere: list = field(default_factory=list)
    failed: list = field(default_factory=list)
    links: list = field(default_factory=list)
    ids: list = field(default_factory=list)
    images: list = field(default_factory=list)
    width: int = 0
    too_wide: list = field(default_factory=list)
    violations: dict = field(default_factory=dict)


LOOK = """() => {
  const shown = element => element.checkVisibility();
  const box = element => element.getBoundingClientRect();
  const clipped = element => element.closest("[style*=overflow], .output, pre, table, .sidebar-toggle") !== null;
  return {
    links: [...document.querySelectorAll("a[href]")].map(a => a.href),
    ids: [...document.querySelectorAll("[id]")].map(element => element.id),
    images: [...document.images].filter(shown).map(image => ({
      source: image.src.slice(0, 80), alt: image.getAttribute("alt"), width: image.naturalWidth,
      decorative: image.closest("[aria-hidden=true], .navbar-brand") !== null})),
    width: document.documentElement.scrollWidth,
    too_wide: [...document.body.querySelectorAll("*")].filter(e => shown(e) && box(e).right > innerWidth + 1 && !clipped(e))
      .slice(0, 5).map(e => e.outerHTML.slice(0, 120)),
  };
}"""
BROKEN_RULES = """async () => (await axe.run(document, {resultTypes: ["violations"]})).violations
  .filter(violation => ["serious", "critical"].includes(violation.impact))
  .map(violation => [violation.id, violation.nodes.slice(0, 4).map(node => node.target.join(" ") + ": "
    + node.any.concat(node.all).map(check => check.message).join("; ").slice(0, 200))])"""


def visit(browser, address, name):
    """Open one page as a telephone in light and as a desk in dark mode; see `Visit`."""
    found = Visit()
    for scheme, size in (("light", TELEPHONE), ("dark", DESK)):
        context = browser.new_context(viewport=size, color_scheme=scheme)
        page = context.new_page()
        page.on("console", lambda message: message.type == "error" and found.console.append(message.text))
        page.on("pageerror", lambda error: found.console.append(str(error)))
        page.on("request", lambda request: not request.url.startswith((address, "data:", "blob:"))
                and found.elsewhere.append(request.url))
        page.on("response", lambda response: response.status >= 400 and found.failed.append(response.url))
        page.on("requestfailed", lambda request: found.failed.append(f"{request.url}: {request.failure}"))
        page.goto(address + name, wait_until="load")
        page.wait_for_function("window.MathJax?.startup ? MathJax.startup.promise.then(() => true) : true")
        if page.locator("#demo").count():
            page.wait_for_selector("#demo[data-settled]", timeout=60_000)
        if scheme == "light":
            vars(found).update(page.evaluate(LOOK))
        page.add_script_tag(content=AXE.read_text(encoding="utf-8"))
        found.violations[scheme] = page.evaluate(BROKEN_RULES)
        context.close()
    return found


@pytest.fixture(scope="module")
def visits(browser, address):
    """{page: Visit}, each page opened once."""
    return {name: visit(browser, address, name) for name in PAGES}


def each(visits, attribute):
    """{page: what was found} for the pages where something was."""
    return {name: found for name, seen in visits.items() if (found := getattr(seen, attribute))}


def test_no_error_reaches_the_console(visits):
    assert each(visits, "console") == {}


def test_book_asks_no_other_host(visits):
    assert each(visits, "elsewhere") == {}


def test_every_file_is_there(visits):
    assert each(visits, "failed") == {}


def test_no_link_is_broken(visits, address):
    broken = {}
    for name, seen in visits.items():
        for link in set(seen.links):
            target, anchor = urldefrag(link)
            if not target.startswith(address):
                continue
            path = unquote(urlsplit(target).path).lstrip("/") or "index.html"
            there = (BOOK / path).is_file()
            if not there or (anchor and path in visits and unquote(anchor) not in visits[path].ids):
                broken.setdefault(name, []).append(link.removeprefix(address))
    assert broken == {}


def test_every_image_is_shown_and_has_an_alternative_text(visits):
    bad = {}
    for name, seen in visits.items():
        for image in seen.images:
            if not image["width"] or not (image["alt"] or "").strip() and not image["decorative"]:
                bad.setdefault(name, []).append(image)
    assert bad == {}


def test_no_page_scrolls_sideways_on_a_telephone(visits):
    assert {name: seen.too_wide for name, seen in visits.items() if seen.width > TELEPHONE["width"]} == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_accessibility_violation(visits, scheme):
    assert {name: seen.violations[scheme] for name, seen in visits.items() if seen.violations[scheme]} == {}
