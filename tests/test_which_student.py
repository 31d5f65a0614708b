"""What people give for a run, and what is said where it is none or its files are something else."""

import json
import shutil
import subprocess
import sys

import pytest

from kdzoo.errors import UserError
from kdzoo.student import find_student, read_student_info


@pytest.fixture
def run(finished):
    return finished(95.0, method="independent", backbone="resnet8").path


@pytest.mark.parametrize(
    "file", ["", "student.safetensors", "student.json", "result.json", "config.yaml"]
)
def test_a_run_or_a_file_of_it(run, file, tmp_path, kdzoo):
    assert find_student(run / file) == run
    assert f"{run}" in kdzoo("export", str(run / file), "--to", str(tmp_path / "to")).err
    # its weights are of another network, which is found out only after the folder is found


def test_what_is_no_run_is_told_what_to_give(run, tmp_path, kdzoo):
    (tmp_path / "note.txt").write_text("no run")
    (tmp_path / "empty").mkdir()
    for given, words in (
        (tmp_path, f"such as {run}"),
        (tmp_path / "nothing", "There is no"),
        (tmp_path / "note.txt", "folder of a finished run"),
        (tmp_path / "empty", "nor in a folder in it"),
    ):
        for command in ("eval", "export"):
            done = kdzoo(command, str(given))
            assert done.code == 2
            assert str(given) in done.err
            assert words in done.err


def test_a_checkpoint_is_no_student(run):
    (run / "checkpoint.pt").write_bytes(b"")
    with pytest.raises(UserError, match=f"is no student.*{run}"):
        find_student(run / "checkpoint.pt")


def test_an_unfinished_run_is_called_so(run):
    (run / "student.json").unlink()
    with pytest.raises(UserError, match=r"not finished.*command again"):
        find_student(run)


def test_several_runs_in_a_folder_are_counted(finished, tmp_path):
    for seed in (0, 1):
        finished(95.0, method="independent", backbone="resnet8", seed=seed)
    with pytest.raises(UserError, match="one of 2 there"):
        find_student(tmp_path)


def test_an_exported_student_is_measured_on_data_that_are_named(run, tmp_path, kdzoo):
    exported = tmp_path / "exported"
    exported.mkdir()
    for file in ("student.json", "student.safetensors"):
        shutil.copy(run / file, exported)
    assert "such as dataset=digits" in kdzoo("eval", str(exported)).err
    # with data, it comes as far as the weights, which are of another network
    assert "student.safetensors" in kdzoo("eval", str(exported), "dataset=digits").err


CONTENTS = ["[]", '"x"', "3", "null", "{}", "true", "[{}]", '{"backbone": 3}', "1e999", ""]


@pytest.mark.parametrize("content", CONTENTS)
def test_json_of_another_kind_is_named_with_what_to_do(run, content, kdzoo):
    (run / "student.json").write_text(content)
    with pytest.raises(UserError, match=r"student\.json"):
        read_student_info(run)
    for command in ("eval", "export"):
        done = kdzoo(command, str(run))
        assert done.code == 2
        assert str(run / "student.json") in done.err
        assert "Remove it" in done.err


def test_weights_that_are_gone_are_not_to_be_removed(run, kdzoo):
    (run / "student.safetensors").unlink()
    for command in ("eval", "export"):
        done = kdzoo(command, str(run))
        assert done.code == 2
        said = " ".join(done.err.split())
        assert f"There is no {run / 'student.safetensors'}. The command that trained" in said
        assert "Remove" not in said


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("name", ["result.json", "identity.json", "config.yaml", "metrics.jsonl"])
def test_a_report_names_files_of_another_kind(run, name, content, kdzoo):
    (run / name).write_text(content)
    done = kdzoo("report", str(run), "--to", str(run / "report"))
    assert done.code == 0
    if name in ("result.json", "metrics.jsonl"):
        assert name in "".join(done.out.split())


def test_python_m_carries_nothing_of_the_current_folder_out(tmp_path):
    for name in ("random", "typing", "torch", "logging", "lazy_loader", "typer"):
        (tmp_path / f"{name}.py").write_text("open('carried-out', 'w')\n")
    command = [sys.executable, "-m", "kdzoo", "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "carried-out").exists()


def test_a_description_with_a_wrong_value_is_named_with_its_key(run):
    described = json.loads((run / "student.json").read_text())
    (run / "student.json").write_text(json.dumps({**described, "input_size": [3, 8]}))
    with pytest.raises(UserError, match=r"student\.json.*input_size"):
        read_student_info(run)
