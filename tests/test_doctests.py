"""The examples in the docstrings of the face print what stands below them."""

import doctest

import pytest

import dclib

#: A published network is no small example.
WITHOUT = {"load_model"}


@pytest.mark.parametrize("name", sorted(set(dclib.__all__) - WITHOUT))
def test_example_prints_what_stands_below_it(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # an example may write a file
    found = getattr(dclib, name)
    examples = [test for test in doctest.DocTestFinder(recurse=False).find(found, name, globs={}) if test.examples]
    assert examples, f"{name} has no example"
    for test in examples:
        assert doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test).failed == 0
