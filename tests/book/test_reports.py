"""The page of reports: every test that it names is there."""

import ast
import re

import pytest
from support import ROOT

PAGE = (ROOT / "book/reports.md").read_text(encoding="utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ")][1:]


@pytest.mark.parametrize("row", ROWS, ids=[row.split("|")[1].strip() for row in ROWS])
def test_its_tests_are_there(row):
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
    assert named and row.count("::") == len(named)
    for path, name in named:
        functions = {
            node.name for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body if hasattr(node, "name")
        }
        assert name in functions
