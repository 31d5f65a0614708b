"""The doctor finds what stands in the way of runs, and says what to do."""

import importlib.metadata
import json
import sys
from collections import namedtuple

import pytest
import torch

from kdzoo import registry
from kdzoo.doctor import examine

Usage = namedtuple("Usage", "total used free")
Memory = namedtuple("Memory", "total available")


def _about(subject):
    return [one for one in examine() if one.subject == subject]


def test_a_sound_machine_has_no_problem(kdzoo, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    found = kdzoo("doctor")
    assert found.code == 0
    assert torch.__version__.split("+")[0] in found.out
    assert "Nothing stands in the way" in found.out
    assert list(tmp_path.iterdir()) == []


def test_json_holds_every_finding(kdzoo):
    findings = json.loads(kdzoo("doctor", "--json").out)
    assert {one["subject"] for one in findings} >= {"Python", "torch", "CPU", "runs", "cache"}
    assert all(one["fix"] for one in findings if one["state"] == "problem")


def test_a_folder_that_cannot_be_written_is_a_problem(kdzoo, tmp_path):
    (tmp_path / "file").write_text("")
    found = kdzoo("doctor", "--out", str(tmp_path / "file" / "runs"))
    assert found.code == 1
    assert "cannot be written" in found.out
    assert "out=DIR" in found.out


def test_a_full_disk_is_a_problem(monkeypatch):
    monkeypatch.setattr("kdzoo.doctor.shutil.disk_usage", lambda path: Usage(10**9, 10**9, 1000))
    assert [one.state for one in _about("runs")] == ["problem"]


def test_little_memory_is_a_problem(monkeypatch):
    little = Memory(2**34, 2**29)
    monkeypatch.setattr("kdzoo.doctor.psutil.virtual_memory", lambda: little)
    (found,) = _about("memory")
    assert (found.state, found.text) == ("problem", "0.5 GiB free of 16.0")


def test_more_threads_than_cores_are_a_problem(monkeypatch):
    monkeypatch.setattr("kdzoo.doctor.available_cores", lambda: 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    (found,) = _about("threads")
    assert found.state == "problem"
    assert "training.threads=2" in found.fix


def test_a_package_that_wants_another_torch_is_a_problem(monkeypatch):
    def requires(package):
        wanted = {"torchvision": ["torch==1.0.0", "numpy", 'gdown; extra == "gdown"']}
        return wanted.get(package, importlib.metadata.requires(package))

    monkeypatch.setattr("kdzoo.doctor.requires", requires)
    (found,) = _about("torchvision")
    assert found.state == "problem"
    assert "wants torch==1.0.0" in found.text
    assert found.fix == 'pip install "torch==1.0.0"'


def test_a_gpu_that_torch_cannot_use_is_a_problem(monkeypatch):
    def available():
        import warnings

        warnings.warn("The NVIDIA driver on your system is too old", stacklevel=1)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", available)
    (found,) = _about("GPU")
    assert found.state == "problem"
    assert "too old" in found.text
    assert found.fix


def test_a_missing_compiler_is_a_note(monkeypatch):
    monkeypatch.setattr("kdzoo.doctor.shutil.which", lambda name: None)
    assert [one.state for one in _about("C++ compiler")] == ["note"]


@pytest.mark.parametrize("module", ["onnxruntime", "ray"])
def test_missing_optional_parts_are_a_note(monkeypatch, module):
    monkeypatch.setattr("kdzoo.doctor.find_spec", lambda name: None if name == module else name)
    (found,) = _about("optional parts")
    assert found.state == "note"
    assert ("export" if module == "onnxruntime" else "ray") in found.fix


def test_a_plugin_that_fails_to_import_is_a_problem(monkeypatch):
    class Broken(type(registry.methods)):
        def names(self):
            return ["sunk"]

        def broken(self):
            return {"sunk": "The method 'sunk' fails to import."}

        def origin(self, name):
            return "kdzoo-sunk"

    monkeypatch.setitem(registry.ALL, "methods", Broken("method ", "kdzoo.methods"))
    (found,) = [one for one in examine() if "sunk" in one.subject]
    assert (found.state, found.fix) == ("problem", "Mend or uninstall kdzoo-sunk.")


def test_a_gpu_for_which_torch_has_no_kernels_is_a_problem(monkeypatch):
    """torch says that such a GPU is available; only computing on it tells."""
    properties = namedtuple("Properties", "name total_memory")("Old GPU", 8 * 2**30)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    (found,) = _about("cuda:0")
    assert found.state == "problem"
    assert "Old GPU, 8 GiB" in found.text
    assert "pytorch.org" in found.fix


def test_a_torch_that_cannot_be_imported_is_one_message(kdzoo, monkeypatch):
    monkeypatch.setitem(sys.modules, "kdzoo.doctor", None)
    found = kdzoo("doctor")
    assert found.code == 2
    assert "cannot be imported" in found.err
    assert "pip install" in found.err
