"""What several test files share."""

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from kdzoo.cli import main

# Without a GPU, kernels run in Triton's interpreter, which it asks for when they are imported.
if not any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/dxg")):
    os.environ["TRITON_INTERPRET"] = "1"

# The same examples each time, and no verdict on how fast a machine is.
settings.register_profile(
    "kdzoo", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("kdzoo")


@dataclass
class Finished:
    """A command that has ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def kdzoo(capsys, monkeypatch):
    """Runs a kdzoo command in this process, as ``kdzoo("run", "epochs=1")``."""

    def command(*arguments: str) -> Finished:
        monkeypatch.setattr(sys, "argv", ["kdzoo", *arguments])
        try:
            main()
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        else:
            code = 0
        captured = capsys.readouterr()
        return Finished(code, captured.out, captured.err)

    return command


@pytest.fixture
def finished(tmp_path):
    """Makes a finished run: ``finished(97.5, method="one", seed=1)``."""
    from hand_made import finish  # with torch, which the process that starts the others can spare

    from kdzoo.compose import compose

    def make(student: float, **settings):
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


@pytest.fixture
def without_code(monkeypatch):
    """Torch traces and differentiates what it compiles, and leaves out the C++."""
    from torch._dynamo.backends.debugging import aot_eager
    from torch._inductor import compile_fx

    monkeypatch.setattr(compile_fx, "compile_fx", lambda graph, x, **_: aot_eager(graph, x))


BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser():
    """A browser without a window; tests that ask for it are skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the playwright package")
    path = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"needs a browser: one of {BROWSERS}")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


def pytest_collection_modifyitems(items):
    import torch

    # What takes long comes first, a file at a time, so that no process works alone at the end.
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("cuda"):  # a folder may be called so, too
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
