"""What this user may not read is named as such, and nobody is told to remove it."""

import errno
import io
import os
from pathlib import Path

import pytest

from kdzoo.student import DESCRIPTION, WEIGHTS


@pytest.fixture
def forbid(monkeypatch):
    """Forbids this user, who may be root, a file or all that is in a folder."""

    def forbid(forbidden: Path, look: bool) -> None:
        def refused(act):
            def call(path, *arguments, **settings):
                if isinstance(path, str | Path) and Path(path).is_relative_to(forbidden):
                    raise PermissionError(errno.EACCES, "Permission denied", str(path))
                return act(path, *arguments, **settings)

            return call

        monkeypatch.setattr(io, "open", refused(io.open))
        if not look:
            monkeypatch.setattr(os, "stat", refused(os.stat))

    return forbid


def _refused(done, file):
    assert done.code == 2
    assert f"{file} cannot be read: Permission denied. Ask its owner" in done.err.replace("\n", "")
    assert "emove" not in done.err


@pytest.mark.parametrize("file", [DESCRIPTION, WEIGHTS])
def test_a_student_is_not_to_be_removed(file, kdzoo, finished, forbid, tmp_path):
    run = finished(97.0, method="one", seed=0).path
    forbid(run / file, look=True)
    _refused(kdzoo("export", str(run), "--to", str(tmp_path / "student.onnx")), run / file)


@pytest.mark.parametrize("file", ["identity.json", "config.yaml"])
def test_nor_is_what_a_run_was_trained_on(file, kdzoo, forbid, tmp_path):
    words = ("run", "method=one", "backbone=resnet8", "epochs=1", "batch_size=512")
    words = (*words, "training.threads=1", f"out={tmp_path}")
    done = kdzoo(*words)
    assert done.code == 0, done.err
    (path,) = tmp_path.rglob(file)
    forbid(path, look=True)
    _refused(kdzoo(*words), path)


@pytest.mark.parametrize("look", [True, False])
@pytest.mark.parametrize("command", ["bench", "config", "report"])
def test_yaml_is_there(command, look, kdzoo, forbid, tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir()
    file = folder / "theirs.yaml"
    file.write_text("epochs: 3\n")
    forbid(folder, look)
    done = kdzoo(command, str(file))
    assert done.code == 2
    assert f"{file} cannot be" in done.err.replace("\n", "")
    assert "Permission denied" in done.err
