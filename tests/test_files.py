"""Files appear whole or not at all."""

import errno
import multiprocessing
import os
import signal

import filelock
import pytest
from full_disk import full_disk

from kdzoo.backbones.create import create_backbone
from kdzoo.cli.words import PARTS
from kdzoo.errors import UserError
from kdzoo.files import make_folder, read_json, replacing, try_lock, write_json, write_text
from kdzoo.student import StudentInfo, save_student

STUDENT = {
    "backbone": "resnet8",
    "kwargs": {},
    "num_classes": 10,
    "input_size": (3, 8, 8),
    "mean": (0.5,) * 3,
    "std": (0.2,) * 3,
    "classes": tuple("0123456789"),
}


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


@pytest.mark.parametrize(
    ("command", "advice"),
    [
        (("export", "--to"), "Choose another place with --to"),
        (("export", "--format=pt2", "--to"), "Choose another place with --to"),
        (("report", "--to"), "Choose another place with --to"),
    ],
)
def test_the_advice_is_for_the_command(kdzoo, finished, tmp_path, command, advice):
    folder = finished(90.0).path
    save_student(folder, create_backbone("resnet8", 10), StudentInfo(**STUDENT))
    file = tmp_path / "file"
    file.write_text("")
    first, *rest = command
    done = kdzoo(first, str(folder if first == "export" else tmp_path), *rest, str(file / "x"))
    assert done.code == 2
    assert f"{advice}, or make room" in " ".join(done.err.split())
    assert "out=DIR" not in done.err


def test_a_new_method_is_written_to_the_working_folder(kdzoo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.mkstemp", full)
    done = kdzoo("new", "method", "my_method")
    assert done.code == 2
    assert "Go to another working folder, or make room" in " ".join(done.err.split())


@pytest.mark.parametrize("kind", PARTS)
def test_every_kind_of_part_can_be_begun(kdzoo, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    done = kdzoo("new", kind, "begun")
    assert done.code == 0, done.err
    assert f"kdzoo_{kind}s" in (tmp_path / "kdzoo-begun" / "pyproject.toml").read_text()


@pytest.mark.parametrize(
    "name", ["torch", "kdzoo", "test", "json", "method", "tensor", "distillation", "value_error"]
)
def test_a_new_method_hides_nothing(kdzoo, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    done = kdzoo("new", "method", name)
    assert (done.code, list(tmp_path.iterdir())) == (2, [])
    assert "Choose another name." in done.err


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


def test_a_full_disk_keeps_the_old_file_and_leaves_nothing(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with full_disk(), pytest.raises(UserError, match=r"Cannot write to .*file\.txt"):
        write_text(path, "x" * 5000)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def _write_and_wait(path, started):
    with replacing(path) as temporary:
        temporary.write_text("half")
        started.set()
        signal.pause()


def test_what_a_killed_process_left_goes_with_the_next_attempt_and_a_living_one_s_stays(tmp_path):
    path, other = tmp_path / "file", tmp_path / "file.txt"  # the name of one begins the other's
    context = multiprocessing.get_context("spawn")
    started = [context.Event() for _ in range(3)]
    places = [path, path, other]
    arguments = zip(places, started, strict=True)
    processes = [context.Process(target=_write_and_wait, args=one) for one in arguments]
    for process in processes:
        process.start()
    try:
        assert all(one.wait(100) for one in started)
        os.kill(processes[0].pid, signal.SIGKILL)
        processes[0].join()
        assert len(list(tmp_path.iterdir())) == 3
        write_text(path, "new")
        left = sorted(one.name for one in tmp_path.iterdir())
        assert [name.rpartition(".")[0] for name in left if name.endswith(".tmp")] == [
            one.rpartition(".")[0] for one in left[:2]
        ]
        assert len(left) == 3
        assert path.read_text() == "new"
    finally:
        for process in processes:
            process.kill()
            process.join()


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_no_obstacle(tmp_path, monkeypatch, code):
    def fail(self):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(filelock.FileLock, "_acquire", fail)
    lock = try_lock(tmp_path / ".lock")
    assert lock is not None
    assert try_lock(tmp_path / ".lock") is None
    lock.release()
    assert try_lock(tmp_path / ".lock") is not None


def test_json_that_is_no_file_or_too_deep_is_named(tmp_path):
    deep, pipe = tmp_path / "deep.json", tmp_path / "pipe.json"
    deep.write_text("[" * 100_000)
    os.mkfifo(pipe)
    for path in (deep, pipe, tmp_path):
        with pytest.raises(UserError, match="cannot be read"):
            read_json(path)


def test_the_file_that_was_there_is_kept_where_it_is_wanted(tmp_path):
    path, before = tmp_path / "state", tmp_path / "state-before"
    for text in ("one", "two", "three"):
        with replacing(path, keep=before) as temporary:
            temporary.write_text(text)
    assert (path.read_text(), before.read_text()) == ("three", "two")
    with pytest.raises(ValueError, match="full"), replacing(path, keep=before):
        raise ValueError("full")
    assert (path.read_text(), before.read_text()) == ("three", "two")
    assert len(list(tmp_path.iterdir())) == 2
