"""Files appear whole or not at all."""

import pytest

from kdzoo.errors import UserError
from kdzoo.files import make_folder, read_json, replacing, try_lock, write_json, write_text


def test_what_fails_half_way_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_text("new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_is_readable_by_others_as_usual(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "x")
    plain = tmp_path / "plain.txt"
    plain.write_text("x")
    assert path.stat().st_mode == plain.stat().st_mode


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(UserError, match="out="):
        write_text(file / "below.txt", "x")


def test_json_without_numbers_that_are_none(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"a": [1, 2.5, None]})
    assert read_json(path) == {"a": [1, 2.5, None]}
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, float("nan"))
    assert read_json(path) == {"a": [1, 2.5, None]}


@pytest.mark.parametrize("text", ["", "{", "\x00"])
def test_a_damaged_json_is_named(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"x\.json"):
        read_json(path)


def test_a_lock_is_had_by_one_at_a_time(tmp_path):
    path = tmp_path / "made" / ".lock"
    lock = try_lock(path)
    assert try_lock(path) is None
    lock.release()
    assert try_lock(path) is not None


@pytest.mark.parametrize("use", [lambda path: write_text(path, "x"), make_folder, try_lock])
def test_what_cannot_be_written_is_said_in_the_same_words(tmp_path, use):
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "below" / "it"
    with pytest.raises(UserError, match=r"Cannot write to .*: Not a directory\. .* out=DIR"):
        use(path)
