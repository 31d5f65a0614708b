import pytest
from data_helpers import Folders


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The folder of decoded images, a fresh one for each test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "kdzoo"


@pytest.fixture
def folders(tmp_path):
    return Folders(tmp_path / "images")
