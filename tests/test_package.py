"""What is installed: every file that kdzoo reads when it runs is in the wheel."""

import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The names of the files in the wheel, and its metadata."""
    builders = pytest.importorskip("hatchling.builders.wheel")
    folder = tmp_path_factory.mktemp("dist")
    (path,) = builders.WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        return names, archive.read(metadata).decode()


def test_the_wheel_has_all_of_the_package(wheel):
    names, _ = wheel
    sources = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "kdzoo").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert sources - names == set()
    assert "kdzoo/py.typed" in names
    recipes = {f"kdzoo/recipes/{path.name}" for path in (ROOT / "recipes").glob("*.yaml")}
    assert recipes
    assert recipes <= names


def test_the_wheel_holds_nothing_else(wheel):
    names, _ = wheel
    assert {name.split("/")[0].split("-")[0] for name in names} == {"kdzoo"}
    assert not any("test" in Path(name).parts for name in names)


def test_a_wheel_from_the_source_distribution_is_the_same(wheel, tmp_path):
    from hatchling.builders.sdist import SdistBuilder
    from hatchling.builders.wheel import WheelBuilder

    (source,) = SdistBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with tarfile.open(source) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.glob("kdzoo-*/")
    assert {"LICENSE", "README.md", "tests", "docs"} <= {one.name for one in unpacked.iterdir()}
    (path,) = WheelBuilder(str(unpacked)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(path) as archive:
        assert set(archive.namelist()) == wheel[0]


def test_the_metadata_say_what_it_is(wheel):
    _, metadata = wheel
    import kdzoo

    assert f"Version: {kdzoo.__version__}" in metadata
    assert "License-Expression: Apache-2.0" in metadata
