"""The face of the package: the names that a reader needs, from where they live, and not before they are asked for."""

import subprocess
import sys
from importlib import import_module

import pytest
from support import ROOT

import dclib


@pytest.mark.parametrize("name", dclib.__all__)
def test_names_are_those_of_their_rooms(name):
    found = getattr(dclib, name)
    room = import_module(found.__module__)
    assert found is getattr(room, name) and found.__doc__ and name in dir(dclib)


def test_each_name_has_its_room():
    assert sorted(dclib.__all__) == sorted(dclib._ROOMS)


def test_importing_it_waits_for_nothing():
    code = "import sys, dclib; print(dclib.__version__, *{'torch', 'numpy', 'dclib.correction'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.strip() == dclib.__version__


def test_an_unknown_name_is_none_and_a_room_is_itself():
    with pytest.raises(AttributeError, match="has no attribute 'swap'"):
        dclib.swap
    with pytest.raises(ImportError, match="swap"):
        exec("from dclib import swap")
    names = {}
    exec("from dclib import correct, paper, ranking", names)
    assert names["paper"] is import_module("dclib.paper") and names["ranking"] is import_module("dclib.ranking")
    assert names["correct"] is import_module("dclib.correction").correct
