"""The front page: its picture and its table are what the tracked records give, and its lines do what they say."""

import re

import front
from support import ROOT


def test_committed_front_is_what_the_records_give():
    """After a record of one of its rows was published: `make front`."""
    text, svg = front.made()
    assert front.in_readme()[1] == text, "README.md is older than the records: make front"
    assert front.PICTURE.read_bytes() == svg, "book/_static/front.svg is older than the records: make front"


def test_record_that_is_not_published_is_not_shown():
    found = front.gathered(front.Store(ROOT / "data/results"), published=set())
    assert not any(row.records for _, rows in found.values() for row in rows)
    assert front.block(found).count("*not run yet*") == 8 and front.drawn(front.picture(found))


def test_lines_of_the_front_print_what_stands_below_them():
    lines, printed = re.search(
        r"```python\n(from dclib import load_model.*?)```\n\n```text\n(.*?)```",
        (ROOT / "README.md").read_text(encoding="utf-8"),
        re.DOTALL,
    ).groups()
    said = []
    exec(lines, {"print": lambda *words: said.append(" ".join(map(str, words)))})  # the README's own lines
    assert said == printed.splitlines()
