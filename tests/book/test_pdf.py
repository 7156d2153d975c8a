"""The PDF of the book: written whole, with bookmarks, or not at all. The book here is one small page."""

import print_pdf
import pytest
from support import refused

PAGE = """<!doctype html><html lang="en"><title>Book</title>
<script>window.MathJax = {startup: {promise: Promise.resolve()}};</script>
<h1>First</h1><p>Text.</p><h2>Second</h2><details><summary>Folded</summary><p>Inside.</p></details></html>"""


@pytest.fixture
def folder(tmp_path):
    """A book as Sphinx's singlehtml leaves it."""
    (tmp_path / "singlehtml/book").mkdir(parents=True)
    (tmp_path / "singlehtml/book/index.html").write_text(PAGE, encoding="utf-8")
    return tmp_path / "singlehtml"


def test_book_is_printed_with_bookmarks_and_tags(folder, tmp_path, browser):
    print_pdf.print_pdf(browser, folder, tmp_path / "book.pdf")
    content = (tmp_path / "book.pdf").read_bytes()
    assert content.startswith(b"%PDF-") and content.rstrip().endswith(b"%%EOF")
    assert b"/Outlines" in content and b"/StructTreeRoot" in content


def test_missing_book_is_refused_and_nothing_written(tmp_path):
    with refused("singlehtml", "make pdf"):
        print_pdf.print_pdf(None, tmp_path / "singlehtml", tmp_path / "book.pdf")
    assert list(tmp_path.iterdir()) == []
