"""The page of reports: every test that it names is there."""

import ast
import re

import pytest
from support import ROOT

PAGE = (ROOT / "book/reports.md").read_text(encoding="utf-8")
KINDS = re.findall(r"^\| (\d+) \| ([^|]+) \|", PAGE, re.MULTILINE)
#: (number, kind, lines of tests) of the list behind the table.
LISTED = re.findall(r"^(\d+)\. ([^\n]+):\n((?:   - [^\n]+\n)+)", PAGE, re.MULTILINE)


def test_every_kind_of_the_table_has_its_tests():
    assert KINDS and KINDS == [entry[:2] for entry in LISTED]


@pytest.mark.parametrize("tests", [entry[2] for entry in LISTED], ids=[entry[1] for entry in LISTED])
def test_its_tests_are_there(tests):
    named = re.findall(r"- `(tests/[\w/]+\.py)::(\w+)`$", tests, re.MULTILINE)
    assert named and tests.count("::") == len(named)
    for path, name in named:
        functions = {
            node.name for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body if hasattr(node, "name")
        }
        assert name in functions
