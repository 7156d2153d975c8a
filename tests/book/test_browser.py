"""Every page of the built book in a real browser: complete, offline, accessible, and no wider than a telephone.

`make check-pages` runs this, on the book in _build/html; `make test` leaves it out, for the book may be an older one.
"""

import functools
import http.server
import re
import threading
from dataclasses import dataclass, field
from urllib.parse import unquote, urldefrag, urlsplit

import numpy as np
import pytest
import torch
from PIL import Image
from support import ROOT

from dclib import zoo
from dclib.distortions import additive_white_gaussian_noise, gaussian_blur

BOOK = ROOT / "_build/html"
AXE = ROOT / "tests/vendor/axe-core/axe.min.js"
PAGES = sorted(
    path.relative_to(BOOK).as_posix()
    for path in BOOK.glob("**/*.html")
    if "_static" not in path.parts and path != BOOK / "index.html"
)  # which only leads to book/index.html
TELEPHONE, DESK = {"width": 360, "height": 740}, {"width": 1280, "height": 900}

pytestmark = [
    pytest.mark.pages,
    pytest.mark.skipif(not PAGES, reason="there is no built book in _build/html; make book builds it"),
]


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
    """Open one page on a telephone in light mode, then turn it to a desk in dark mode; see `Visit`."""
    found = Visit()
    page = browser.new_page(viewport=TELEPHONE, color_scheme="light")
    page.on("console", lambda message: message.type == "error" and found.console.append(message.text))
    page.on("pageerror", lambda error: found.console.append(str(error)))
    page.on(
        "request",
        lambda request: not request.url.startswith((address, "data:", "blob:")) and found.elsewhere.append(request.url),
    )
    page.on("response", lambda response: response.status >= 400 and found.failed.append(response.url))
    page.on("requestfailed", lambda request: found.failed.append(f"{request.url}: {request.failure}"))
    page.goto(address + name, wait_until="load")
    page.evaluate("window.MathJax?.startup?.promise.then(() => true)")
    if page.locator("#demo").count():
        page.wait_for_selector("#demo[data-settled]", timeout=120_000)
    vars(found).update(page.evaluate(LOOK))
    page.add_script_tag(content=AXE.read_text(encoding="utf-8"))
    found.violations["light"] = page.evaluate(BROKEN_RULES)
    page.add_style_tag(content="* { transition: none !important }")  # else axe sees colours on their way to the dark
    page.set_viewport_size(DESK)
    page.emulate_media(color_scheme="dark")
    page.wait_for_selector("html[data-theme=dark]")
    found.violations["dark"] = page.evaluate(BROKEN_RULES)
    page.close()
    return found


@pytest.fixture(scope="module")
def visits(browser, address):
    """{page: Visit}, each page opened once."""
    return {name: visit(browser, address, name) for name in PAGES}


def nothing(found):
    """Assert that {page: list of defects} has no defect, and name each on a line of its own."""
    lines = [f"{name}: {defect}" for name, defects in found.items() for defect in defects]
    assert not lines, "\n".join(lines)


def test_first_page_leads_to_the_book():
    assert 'content="0; url=book/index.html"' in (BOOK / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("defects", ["console", "elsewhere", "failed"])
def test_pages_load_without_an_error_and_from_here_alone(visits, defects):
    nothing({name: getattr(seen, defects) for name, seen in visits.items()})


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
    nothing(broken)


def test_commands_can_be_copied():
    """Markdown sets the two hyphens of an option as a dash where a command stands in HTML and not in backticks."""
    pages = (path for path in BOOK.rglob("*.html") if not {"_static", "_modules"} & set(path.parts))
    nothing({path.name: re.findall(r"[\s>]–[a-z]{2,}", path.read_text(encoding="utf-8")) for path in pages})


def test_every_image_is_shown_and_has_an_alternative_text(visits):
    bad = {}
    for name, seen in visits.items():
        for image in seen.images:
            if not image["width"] or not (image["alt"] or "").strip() and not image["decorative"]:
                bad.setdefault(name, []).append(image)
    nothing(bad)


def test_no_page_scrolls_sideways_on_a_telephone(visits):
    nothing(
        {
            name: seen.too_wide or [f"{seen.width} pixels wide"]
            for name, seen in visits.items()
            if seen.width > TELEPHONE["width"]
        }
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_accessibility_violation(visits, scheme):
    nothing({name: seen.violations[scheme] for name, seen in visits.items()})


@pytest.fixture(params=["http", "file"])
def demo(browser, address, request):
    """The live demo with its first image, from a server and from the disk."""
    page = browser.new_page(viewport=TELEPHONE)
    page.goto((address if request.param == "http" else BOOK.as_uri() + "/") + "book/live_demo.html")
    page.wait_for_selector("#demo[data-settled]", timeout=60_000)
    yield page
    page.close()


def example(page, number):
    """The pixels of an example on the page: float [1, 3, 32, 32]."""
    pixels = page.evaluate("i => [...atob(dclibDemo.data.examples[i].pixels)].map(c => c.charCodeAt(0))", number)
    return torch.tensor(pixels, dtype=torch.float32).view(1, 3, 32, 32)


def networks(page, against):
    """{method: the PyTorch network behind one panel of the page}."""
    scale = page.evaluate("dclibDemo.data.scale")
    return {
        method: zoo.load_model(method, distortion=against, profile=scale)
        for method in page.evaluate("dclibDemo.data.methods")
    }


def settle(page, act):
    """Do something to the page and wait until its predictions stand."""
    before = page.get_attribute("#demo", "data-settled")
    act()
    page.wait_for_function("before => document.getElementById('demo').dataset.settled !== before", arg=before)


def panels(page):
    """{method: [(class, share as shown)]} of the predictions on the page."""
    return page.evaluate("""() => Object.fromEntries([...document.querySelectorAll(".demo-list")].map(list => [
      list.dataset.demo, [...list.children].map(item => [item.querySelector(".demo-name").textContent,
                                                         item.querySelector(".demo-share").textContent])]))""")


def expected_panels(page, image, against):
    """What `panels` should be by dclib and PyTorch."""
    classes, expected = page.evaluate("dclibDemo.data.classes"), {}
    for method, network in networks(page, against).items():
        with torch.inference_mode():
            top = network(image).softmax(1)[0].topk(5)
        expected[method] = [(classes[i], 100 * share) for i, share in zip(top.indices, top.values.tolist())]
    return expected


def assert_same(shown, expected):
    """Equal classes in equal order, and the shares as far as they are shown."""
    assert list(shown) == list(expected)
    for method in expected:
        assert [name for name, _ in shown[method]] == [name for name, _ in expected[method]]
        for (_, text), (_, share) in zip(shown[method], expected[method]):
            assert abs(float(text.removesuffix(" %")) - share) < 0.51


@pytest.mark.parametrize("against", ["blur", "awgn"])
def test_networks_in_the_browser_are_those_of_pytorch(demo, against):
    for number, sigma in ((0, 0.0), (1, 1.5), (2, 3.0)):
        image = gaussian_blur(example(demo, number), sigma)
        for method, network in networks(demo, against).items():
            logits = demo.evaluate(
                """async ([name, image]) =>
              [...await dclibDemo.logits(dclibDemo.data.networks[name], Float32Array.from(image))]""",
                [f"{method} {against}", image.flatten().tolist()],
            )
            with torch.inference_mode():
                expected = network(image)[0]
            found = torch.tensor(logits)
            assert (found - expected).abs().max() < 1e-3
            assert (found.softmax(0) - expected.softmax(0)).abs().max() < 1e-3


def test_sliders_distort_and_panels_follow(demo):
    settle(demo, lambda: demo.locator("label.demo-example").nth(1).click())
    settle(demo, lambda: demo.get_by_role("slider", name="Blur").fill("1.2"))
    settle(demo, lambda: demo.get_by_role("slider", name="Noise").fill("12"))
    settle(demo, lambda: demo.get_by_role("button", name="Draw other noise").click())
    settle(demo, lambda: demo.get_by_role("radio", name="noise", exact=True).check())
    distorted = additive_white_gaussian_noise(gaussian_blur(example(demo, 1), 1.2), 12, torch.Generator().manual_seed(1))
    assert_same(panels(demo), expected_panels(demo, distorted, "awgn"))
    said = demo.locator("canvas[role=img]").get_attribute("aria-label")
    assert said == "Motorcycle with blur of 1.2 pixels and noise of 12 grey values, 32 by 32 pixels, enlarged"
    painted = demo.evaluate("""() => [...document.querySelector("canvas[role=img]").getContext("2d")
      .getImageData(0, 0, 32, 32).data]""")
    on_screen = np.array(painted).reshape(32, 32, 4)[..., :3].transpose(2, 0, 1)
    assert np.abs(on_screen - distorted[0].clamp(0, 255).numpy()).max() <= 0.51


def test_keyboard_is_enough(demo):
    demo.get_by_role("radio", name="rocket").focus()
    settle(demo, lambda: demo.keyboard.press("ArrowRight"))
    assert demo.get_by_role("radio", name="motorcycle").is_checked()
    demo.get_by_role("slider", name="Blur").focus()
    settle(demo, lambda: demo.keyboard.press("ArrowRight"))
    assert demo.locator("[data-demo=blur-value]").inner_text() == "0.1 pixels"
    settle(demo, lambda: demo.keyboard.press("End"))
    assert demo.locator("[data-demo=blur-value]").inner_text() == "3.0 pixels"
    demo.wait_for_function("document.querySelector('[data-demo=announcement]').textContent.includes('blur of 3 pixels')")


def test_own_image_is_shrunk_to_its_middle(demo, tmp_path):
    coarse = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    wide = np.pad(coarse.repeat(4, 0).repeat(4, 1), ((0, 0), (20, 20), (0, 0)))
    Image.fromarray(wide).save(tmp_path / "own.png")
    settle(demo, lambda: demo.locator("#demo-file").set_input_files(tmp_path / "own.png"))
    image = torch.from_numpy(coarse.transpose(2, 0, 1).copy())[None].float()
    assert_same(panels(demo), expected_panels(demo, image, "blur"))
    assert demo.locator("[name=demo-example]:checked").count() == 0


def test_file_that_is_no_picture_is_refused_in_words(demo, tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    before = panels(demo)
    demo.locator("#demo-file").set_input_files(tmp_path / "notes.txt")
    demo.wait_for_function("document.querySelector('[data-demo=message]').textContent.startsWith('notes.txt: expected')")
    assert panels(demo) == before
