"""What the tests of benches and reports share."""

from pathlib import Path

import pytest
from hand_made import finish

from kdzoo.compose import compose
from kdzoo.training.run_folder import RunFolder


@pytest.fixture
def finished(tmp_path):
    """Makes a finished run: ``finished(97.5, method="one", seed=1)``."""

    def make(student: float, **settings) -> RunFolder:
        epochs = settings.pop("curve", 5)
        return finish(compose(settings={"out": str(tmp_path), **settings}), student, epochs)

    return make


@pytest.fixture
def spec_file(tmp_path):
    """Writes a spec: ``spec_file("methods: [one]", ...)``; runs go below the test's folder."""

    def write(text: str, name: str = "spec.yaml") -> Path:
        path = tmp_path / name
        path.write_text(f"out: {tmp_path}\n{text}")
        return path

    return write
