"""Print the whole book, built as one page in _build/singlehtml, into one PDF with bookmarks: `make pdf`."""

import argparse
import shutil
import sys
from pathlib import Path

from chromium import chromium
from execute import ROOT

from dclib.errors import InputError
from dclib.files import whole

WHOLE = ROOT / "_build/singlehtml"
MARGIN = {"top": "16mm", "bottom": "18mm", "left": "16mm", "right": "16mm"}
FOOTER = (
    '<div style="width:100%;text-align:center;font-size:8px;color:#555"><span class="pageNumber"></span> / '
    '<span class="totalPages"></span></div>'
)
#: What readers would open on a page; code and solutions stay folded.
UNFOLD = "document.querySelectorAll('details:not(.hide)').forEach(details => { details.open = true; })"


def print_pdf(browser, folder, target):
    """Print the book that Sphinx's singlehtml wrote into `folder`; `target` is written whole or not at all."""
    written, opened = folder / "book/index.html", folder / "whole.html"
    if not written.is_file():
        raise InputError(f"{written}: expected the book as one page, got no such file; use make pdf.")
    shutil.copyfile(written, opened)  # its links to styles begin in `folder`, though it lies in a folder of its own
    page = browser.new_page(color_scheme="light")
    page.goto(opened.as_uri(), wait_until="load")
    page.wait_for_function("MathJax.startup.promise.then(() => true)", timeout=120_000)
    page.evaluate(UNFOLD)
    try:
        with whole(target) as temporary:
            page.pdf(
                path=temporary,
                format="A4",
                margin=MARGIN,
                print_background=True,
                outline=True,
                tagged=True,
                scale=0.75,
                display_header_footer=True,
                header_template="<span></span>",
                footer_template=FOOTER,
            )
    finally:
        page.close()


def main(arguments=None):
    """Print into the file that the command line names; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", type=Path, help="the PDF to write")
    try:
        target = parser.parse_args(arguments).target
        with chromium() as browser:
            print_pdf(browser, WHOLE, target)
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
