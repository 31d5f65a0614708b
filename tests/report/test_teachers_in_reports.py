"""A teacher is what is in its files, wherever they lie and however their path is written."""

import os
import shutil

import pytest

from kdzoo.bench.collect_matrix import collect_matrix
from kdzoo.bench.matrix import read_matrix
from kdzoo.report.collect import collect_folder

SPEC = """
methods: [{{label: taught, method: kd, method.teacher: {teacher}}}]
backbones: [resnet8]
datasets: [digits]
seeds: [0, 1]
"""


@pytest.fixture
def teacher(finished, tmp_path):
    folder = finished(95.0, method="independent", backbone="resnet14")
    return shutil.move(folder.path, tmp_path / "teacher")


def taught(finished, teacher, seed=0, student=90.0):
    return finished(
        student, method={"name": "kd", "teacher": str(teacher)}, backbone="resnet8", seed=seed
    )


def figures(spec_file, teacher):
    runs = collect_matrix(read_matrix(spec_file(SPEC.format(teacher=teacher)))).runs
    return [run.result.last.student.top1 for run in runs]


def test_a_teacher_that_moved_is_known_again(finished, spec_file, teacher, tmp_path, monkeypatch):
    taught(finished, teacher)
    monkeypatch.chdir(tmp_path)
    spellings = [teacher, os.path.join(tmp_path, ".", "teacher"), "teacher"]
    (tmp_path / "link").symlink_to(teacher)
    for spelling in (*spellings, tmp_path / "link"):
        assert figures(spec_file, spelling) == [90.0]
    shutil.move(teacher, tmp_path / "moved")
    assert figures(spec_file, tmp_path / "moved") == [90.0]


def test_of_a_teacher_that_is_gone_the_path_is_all_that_is_known(finished, spec_file, teacher):
    taught(finished, teacher)
    shutil.rmtree(teacher)
    assert figures(spec_file, teacher) == [90.0]


def test_another_teacher_under_the_same_path_is_another_run(finished, spec_file, teacher, tmp_path):
    taught(finished, teacher)
    shutil.rmtree(teacher)
    shutil.move(finished(96.0, method="independent", backbone="resnet20").path, teacher)
    assert figures(spec_file, teacher) == []


def test_a_folders_report_has_one_row_for_one_teacher(finished, teacher, tmp_path):
    taught(finished, teacher, seed=0)
    copied = shutil.copytree(teacher, tmp_path / "copy")
    taught(finished, copied, seed=1, student=91.0)
    for one in (teacher, copied):
        shutil.rmtree(one)
    found = collect_folder(tmp_path)
    assert [(run.method, run.seed) for run in found.runs] == [("kd", 0), ("kd", 1)]


def test_and_two_for_two_that_lay_in_one_place(finished, teacher, tmp_path):
    taught(finished, teacher, seed=0)
    shutil.rmtree(teacher)
    shutil.move(finished(96.0, method="independent", backbone="resnet20").path, teacher)
    taught(finished, teacher, seed=0, student=91.0)
    shutil.rmtree(teacher)
    labels = [run.method for run in collect_folder(tmp_path).runs]
    assert labels == [f"kd (teacher={teacher})", f"kd (teacher={teacher}, version 2)"]
