"""What programs and packages put into a registry beside kdzoo's own, and what does not fit."""

import sys
from importlib.metadata import EntryPoint, EntryPoints

import catalogue
import pytest

from kdzoo import registry
from kdzoo.errors import UserError


@pytest.fixture
def provided(tmp_path, monkeypatch):
    """A function that has the registry of methods find ``source`` in an installed package."""

    def provide(source: str) -> registry.Registry:
        (tmp_path / "provided_methods.py").write_text(source)
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, "provided_methods", raising=False)
        entry = EntryPoint("odd", "provided_methods:Odd", "kdzoo_methods")
        monkeypatch.setattr(catalogue, "AVAILABLE_ENTRY_POINTS", EntryPoints([entry]))
        return registry.Registry("method", "kdzoo.methods", configs="kdzoo.methods.settings")

    return provide


@pytest.mark.parametrize("imported", [False, True])
def test_a_program_does_not_take_a_name_of_kdzoos(imported):
    if imported:
        registry.methods.get("mbde")
    with pytest.raises(UserError, match=r"'mbde' of its own.*another name.*entry point"):

        @registry.methods.register("mbde")
        class Mine:
            pass

    assert registry.methods.get("mbde").__module__ == "kdzoo.methods.mbde"


@pytest.mark.parametrize("source", ["class Odd: pass", "def Odd(): pass", "class Odd: Config = 3"])
def test_what_has_no_settings_is_no_method(provided, source):
    with pytest.raises(UserError, match=r"'odd' of .* is no method.*Config.*uninstall"):
        provided(source).get_config("odd")


def test_a_package_that_exits_on_import_is_broken_and_ends_nothing(provided):
    methods = provided("import sys\nsys.exit(3)")
    assert "SystemExit: 3" in methods.broken()["odd"]
    with pytest.raises(UserError, match="fails to import"):
        methods.get("odd")
