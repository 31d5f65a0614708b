"""The type of a field decides how its text is read, and what is printed reads back as the same."""

import sys

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kdzoo.compose import compose, read_stored, read_yaml, to_yaml
from kdzoo.errors import UserError
from kdzoo.scalars import typed
from kdzoo.student import load_student, save_student
from kdzoo.yaml_text import load_yaml

TEXTS = ["2024", "007", "1e3", "on", "null", "12:30", "runs #2", "a: b", "[x]", "{a: 1}", "'q'"]
TEXTS += [
    "${HOME}",
    r"a\${b}",
    "a\\",
    "\ufeff",
    "\u202eabc",
    "é日本",
    "y",
    "0o7",
    "2024-01-01",
    "r/[/]",
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_folder_stays_as_it_was_typed_and_printed(tmp_path, text):
    config = compose([f"out={text}", f"dataset.root={text}"])
    assert config.out == text
    assert str(config.dataset.root) == text
    for unicode in (True, False):
        recipe = tmp_path / "again.yaml"
        recipe.write_text(to_yaml(config, unicode), encoding="utf-8" if unicode else "ascii")
        assert compose([str(recipe)]) == config
        assert read_stored(recipe) == config.model_dump(mode="json")
    if "${" not in text:
        assert yaml.safe_load(to_yaml(config))["out"] == text


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_any_text_is_printed_as_it_was_typed(text):
    if text.startswith("~"):
        return
    config = compose([f"out={text}"])
    assert config.out == text
    printed = to_yaml(config)
    assert all(c.isprintable() or c == "\n" for c in printed)
    if "${" not in text:
        assert typed(load_yaml(printed))["out"] == text


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("seed=010", 10),
        ("epochs=1e2", 100),
        ("batch_size=128.0", 128),
        ("lr=.1", 0.1),
        ("lr = 1E-3", 1e-3),
        ("training.compile=yes", True),
        ("training.compile=0", False),
        ("training.clip_norm=None", None),
        ("device=0", "cuda:0"),
        ("schedule.milestones=0.5", (0.5,)),
        ("schedule.milestones=(0.5,0.9)", (0.5, 0.9)),
        ("backbone.split_at=2", 2),
        ("backbone.split_at=layer2", "layer2"),
        ("backbone.kwargs={a: 010, b: [1, no], c: '7'}", {"a": "010", "b": [1, False], "c": "7"}),
        ("backbone.kwargs.a.b=1e-3", None),
    ],
)
def test_a_value_is_read_as_its_field_asks_for(tmp_path, override, value):
    config = compose(["schedule=multistep", override])
    if value is None and "kwargs" in override:
        assert config.backbone.kwargs == {"a": {"b": 1e-3}}
        return
    found = config
    for key in override.partition("=")[0].strip().split("."):
        found = getattr(found, key)
    assert found == value
    assert type(found) is type(value)
    key, _, text = override.partition("=")
    if not key.endswith(" ") and "(" not in text and "." not in key:
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(f"{key}: {text}\n")
        assert getattr(compose([str(recipe)]), key) == value


@pytest.mark.parametrize(
    "override", ["epochs=12:00", "epochs=1_0", "seed=0x10", "lr=0,1", "lr=inf"]
)
@pytest.mark.parametrize("digits", [5000])
def test_what_is_no_decimal_number_is_refused(override, digits):
    for one in (override, f"seed={'9' * digits}", "lr=!!int x", f"lr={'[' * 400}"):
        with pytest.raises(UserError) as caught:
            compose([one])
        assert str(caught.value).startswith(one.partition("=")[0])
        assert len(str(caught.value)) < 400


@pytest.mark.parametrize("key", ["lr", "epochs", "seed", "batch_size"])
def test_true_is_no_number(key):
    with pytest.raises(UserError, match=rf"{key}: This should be a (whole )?number, not True"):
        compose(settings={key: True})


@pytest.mark.parametrize("override", ["epochs=1e30", "seed=1e20"])
def test_whole_numbers_that_a_float_cannot_tell_apart_are_written_in_digits(override):
    with pytest.raises(UserError, match="beyond 2\\*\\*53 in digits alone"):
        compose([override])


@pytest.mark.parametrize(
    "text",
    ["a: &a [*a]", "[" * 5000, "a: !!python/name:os.system", "a: !!binary x", "a: 1\na: 2", "*x"],
)
def test_yaml_that_is_no_plain_data_is_refused(text):
    with pytest.raises(UserError):
        load_yaml(text)


def test_interpolations_are_for_recipes_and_not_for_the_files_of_a_run(tmp_path, monkeypatch):
    monkeypatch.setenv("KDZOO_SECRET", "1e-2")
    path = tmp_path / "recipe.yaml"
    path.write_text("lr: ${oc.env:KDZOO_SECRET}\nepochs: 7\nseed: ${epochs}\n")
    assert (compose([str(path)]).lr, compose([str(path)]).seed) == (0.01, 7)
    assert read_stored(path)["lr"] == "${oc.env:KDZOO_SECRET}"
    assert read_yaml(path)["lr"] == "1e-2"


def test_a_config_imports_nothing_and_a_student_only_what_is_trusted(
    finished, kdzoo, tmp_path, monkeypatch
):
    (tmp_path / "theirs.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.chdir(tmp_path)
    assert kdzoo("config", "backbone=theirs:Net").code == 0
    assert "theirs" not in sys.modules
    import kdzoo as package
    from kdzoo.student import StudentInfo

    network = package.create_backbone("resnet8", num_classes=10)
    info = StudentInfo(
        backbone="kdzoo.backbones.resnet:resnet8",
        kwargs={},
        num_classes=10,
        input_size=(3, 32, 32),
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
        classes=tuple("0123456789"),
    )
    save_student(tmp_path, network, info)
    with pytest.raises(UserError, match="--trust"):
        load_student(tmp_path)
    done = kdzoo("export", str(tmp_path))
    assert done.code == 2
    assert "--trust" in done.err


def test_a_message_is_short_and_shows_what_is_invisible(kdzoo):
    done = kdzoo("config", "method=\u202eabc\x1b[31m")
    assert "\\u202eabc\\x1b[31m" in done.err
    assert len(kdzoo("config", f"method={'x' * 9000}").err) < 1500


@pytest.mark.parametrize("path", ["r/[/]", "[red]x", "a:smile:b"])
def test_markup_in_a_path_is_text(kdzoo, path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    done = kdzoo("config", f"out={path}")
    assert done.out == to_yaml(compose([f"out={path}"]))


def test_a_field_of_a_text_or_several_takes_a_list_in_brackets():
    teachers = ["method=kd", "method.teacher=[a, b#2, 010]"]
    assert compose(teachers).method.teacher == ("a", "b#2", "010")
    assert compose(["method=kd", "method.teacher=a, [b] #2"]).method.teacher == "a, [b] #2"


def test_hints(kdzoo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "method=mbde" in kdzoo("run", "mbde").err
    assert "Python" in kdzoo("new", "method", "class").err
    assert kdzoo("config", "training.threads=1000000").code == 2
    assert "home" in kdzoo("config", "out=~nosuchuser/x").err
