"""What ``import saeattr`` offers stays what it is, whatever else is imported."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import saeattr

#: In a fresh interpreter, because a module that is imported becomes an attribute of its package for good.
IMPORT_EVERYTHING = """
import importlib, json, pkgutil
import saeattr
names = [found.name for found in pkgutil.walk_packages(saeattr.__path__, "saeattr.")]
for name in names:
    if not name.endswith(".__main__"):
        importlib.import_module(name)
kinds = {name: type(getattr(saeattr, name)).__name__ for name in saeattr.__all__}
called = [name for name in saeattr.__all__ if callable(getattr(saeattr, name))]
homes = {name: getattr(saeattr, name).__module__ for name in called}
print(json.dumps([names, kinds, called, homes]))
"""


def test_every_public_function_is_still_one_when_every_module_was_imported() -> None:
    """A package named like a function (saeattr.report) would take its place."""
    done = subprocess.run([sys.executable, "-c", IMPORT_EVERYTHING], capture_output=True, text=True, check=True)
    names, kinds, called, homes = json.loads(done.stdout.splitlines()[-1])
    assert len(names) > 100
    assert set(kinds) - set(called) == {"TOPICS", "plots"}
    assert (kinds["TOPICS"], kinds["plots"]) == ("tuple", "module")
    assert {name: kind for name, kind in kinds.items() if kind == "module"} == {"plots": "module"}
    assert all(home.startswith("saeattr.") for home in homes.values())
    public = {name.removeprefix("saeattr.") for name in names}
    assert public & set(called) == set()


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'saeattr' has no attribute 'attributions'"):
        _ = saeattr.attributions


def test_what_is_public_is_listed_once_and_in_order() -> None:
    assert sorted(saeattr.__all__, key=lambda name: (name == name.lower(), not name.isupper(), name)) == saeattr.__all__
    assert len(set(saeattr.__all__)) == len(saeattr.__all__)


@pytest.mark.parametrize("name", saeattr.__all__)
def test_everything_public_says_what_it_is(name: str) -> None:
    assert getattr(saeattr, name).__doc__
