"""Paths with ~, and caches where there is no home folder."""

import logging
import os
import tempfile
from pathlib import Path

import pytest

from kdzoo.errors import UserError
from kdzoo.home import cache_folder, expand_user, provide_cache


@pytest.fixture
def nobody(monkeypatch, tmp_path):
    """As in a container started with a bare user number: no name, no home."""
    pwd = pytest.importorskip("pwd")

    def unknown(user):
        raise KeyError(user)

    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "USER", "LOGNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_without_a_home_caches_are_in_a_private_folder_and_it_is_said_once(nobody, caplog):
    environment = {}
    with caplog.at_level(logging.WARNING):
        provide_cache(environment)
        provide_cache(environment)
    folder = nobody / f"kdzoo-{os.getuid()}"
    assert environment == {"XDG_CACHE_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [str(folder) in record.getMessage() for record in caplog.records] == [True]
    again = {}
    provide_cache(again)
    assert again == environment


@pytest.mark.parametrize("how", ["open", "link", "file"])
def test_a_cache_that_somebody_else_may_have_filled_is_not_used(nobody, how):
    folder = nobody / f"kdzoo-{os.getuid()}"
    if how == "open":
        folder.mkdir()
        folder.chmod(0o777)
    elif how == "link":
        folder.symlink_to(nobody)
    else:
        folder.write_text("")
    environment = {}
    provide_cache(environment)
    used = Path(environment["XDG_CACHE_HOME"])
    assert used not in (folder, nobody)
    assert used.stat().st_mode & 0o777 == 0o700


def test_a_home_that_is_no_folder_is_none(nobody, monkeypatch):
    monkeypatch.setenv("HOME", os.devnull)
    environment = {}
    provide_cache(environment)
    assert environment["XDG_CACHE_HOME"].startswith(str(nobody))


def test_a_home_is_left_alone_also_where_it_is_to_be_made(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "new"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    environment = {}
    provide_cache(environment)
    assert not environment
    assert cache_folder() == tmp_path / "new/.cache/kdzoo"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    assert cache_folder() == tmp_path / "caches/kdzoo"


def test_a_home_in_a_path_is_found_or_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expand_user("~/x") == tmp_path / "x"
    assert expand_user(Path("a/~")) == Path("a/~")
    with pytest.raises(UserError, match="no home folder for '~nosuchuser/x'"):
        expand_user("~nosuchuser/x")


@pytest.mark.parametrize(
    "setting",
    [
        "out",
        "dataset.root",
        "dataset.cache",
        "backbone.weights",
        "method.teacher",
        "method.teacher_backbone.weights",
    ],
)
def test_a_setting_with_an_unknown_home_is_named(kdzoo, setting):
    done = kdzoo(
        "config", "method=kd", "method.teacher_backbone.name=resnet8", f"{setting}=~nosuchuser/x"
    )
    assert done.code == 2
    assert f"{setting}: There is no home folder for '~nosuchuser/x'" in " ".join(done.err.split())


def test_the_teachers_of_a_list_have_homes_too(kdzoo):
    done = kdzoo("config", "method=kd", "method.teacher=[a,~nosuchuser/x]")
    assert done.code == 2
    assert "method.teacher: There is no home folder for '~nosuchuser/x'" in " ".join(
        done.err.split()
    )


@pytest.mark.parametrize("command", ["export", "report", "eval"])
def test_folders_on_the_command_line_have_homes_too(kdzoo, command, tmp_path):
    arguments = [str(tmp_path), "--to=~nosuchuser/x"] if command != "eval" else ["~nosuchuser/x"]
    done = kdzoo(command, *arguments)
    assert done.code == 2
    assert "no home folder for '~nosuchuser/x'" in done.err


def test_the_cache_of_images_is_below_the_home(kdzoo, monkeypatch, tmp_path):
    from kdzoo.compose import compose

    monkeypatch.setenv("HOME", str(tmp_path))
    config = compose(settings={"dataset": {"cache": "~/images"}})
    assert config.dataset.cache_folder == tmp_path / "images"
    assert str(config.dataset.cache) == "~/images"
