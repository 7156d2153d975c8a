"""A headless Chromium of the system, driven by Playwright; the PDF and the tests of the pages need one."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from dclib.errors import InputError

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
# The pages are this project's own, so that Chromium may run without a sandbox, as containers want it.
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def chromium() -> Iterator:
    """A started browser (`playwright.sync_api.Browser`); `InputError` where there is none."""
    program = next((path for name in PROGRAMS if (path := shutil.which(name))), None)
    if program is None:
        raise InputError(
            f"browser: expected one of {', '.join(PROGRAMS)} on the path, got none; on Debian or Ubuntu: "
            "apt install chromium."
        )
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=OPTIONS)
        try:
            yield browser
        finally:
            browser.close()
