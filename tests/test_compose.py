"""From names, recipes and overrides to a config, and what is said when they are wrong."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kdzoo.compose import compose, nested, read_yaml, recipe_names, to_yaml
from kdzoo.errors import ConfigError, UserError
from kdzoo.report.labels import flatten


def message(*arguments: str) -> str:
    with pytest.raises(UserError) as caught:
        compose(arguments)
    return str(caught.value)


def test_a_name_is_short_for_a_config_with_that_name():
    assert compose(["method=mbde"]) == compose(["method.name=mbde"])
    assert compose(["backbone=resnet8"]) == compose(["backbone.name=resnet8"])
    assert compose(["dataset=digits"]) == compose(["dataset.name=digits"])


def test_name_and_settings_may_come_in_any_order():
    one = compose(["method=mbde", "method.temperature=4", "method.aggregator.hidden=9"])
    two = compose(["method.aggregator.hidden=9", "method.temperature=4", "method=mbde"])
    assert one == two
    assert one.method.aggregator.hidden == 9


@pytest.mark.parametrize(
    "text",
    [
        "training.steps: 3\ntraining: {steps: 4}\n",
        "training: {steps: 4, compile: false}\ntraining.steps: 3\n",
        "optimizer: {name: sgd, momentum: 0.8}\noptimizer.momentum: 0.7\n",
    ],
)
def test_a_setting_that_is_written_in_two_ways_is_refused(tmp_path, text):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text)
    with pytest.raises(UserError, match=r"^(training\.steps|optimizer\.momentum): It is set twice"):
        compose([str(recipe)])


def test_recipes_and_settings_may_have_dotted_keys(tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("method.temperature: 4\nmethod: mbde\nmethod.aggregator: {hidden: 9}\n")
    overrides = compose(["method=mbde", "method.temperature=4", "method.aggregator.hidden=9"])
    assert compose([str(recipe)]) == overrides
    settings = {"method.temperature": 4, "method": {"aggregator.hidden": 9}}
    assert compose(["method=mbde"], settings) == overrides
    recipe.write_text("method.temprature: 4\n")
    assert "method.temprature: There is no such setting. Did you mean temperature?" in message(
        str(recipe), "method=mbde"
    )
    recipe.write_text("epochs.: 4\n")
    assert message(str(recipe)).startswith("epochs")


def test_a_setting_of_the_whole_run_is_not_looked_for_in_a_group():
    said = message("training.epochs=2")
    assert said.startswith("training.epochs: There is no such setting. epochs stands by itself")


KEYS = st.text("abc", min_size=1, max_size=2)
TREES = st.recursive(
    st.integers(), lambda child: st.dictionaries(KEYS, child, min_size=1), max_leaves=8
)


@given(st.dictionaries(KEYS, TREES))
def test_dotted_keys_are_another_way_to_write_nested_ones(tree):
    assert nested(dict(flatten(tree))) == tree


def test_overrides_beat_recipes_beat_the_data_set_beat_defaults(tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("epochs: 7\nlr: 0.02\nmethod: {name: mbde, temperature: 4}\n")
    config = compose([str(recipe), "lr=0.5"])
    assert (config.epochs, config.lr, config.method.temperature) == (7, 0.5, 4)
    assert config.batch_size == 128
    assert compose(["dataset=digits"]).epochs < 300  # the data set's own recipe


def test_a_later_recipe_beats_an_earlier_one(tmp_path):
    for name, epochs in (("a", 1), ("b", 2)):
        (tmp_path / f"{name}.yaml").write_text(f"epochs: {epochs}\n")
    assert compose([str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml")]).epochs == 2


def test_a_recipe_in_a_folder_with_an_equals_sign(tmp_path):
    (tmp_path / "lr=0.1").mkdir()
    recipe = tmp_path / "lr=0.1" / "config.yaml"
    recipe.write_text("epochs: 7\n")
    assert compose([str(recipe)]).epochs == 7


def test_every_bundled_recipe_composes():
    assert recipe_names()
    for name in recipe_names():
        compose([name])


def test_the_resolved_config_is_a_recipe_that_gives_itself(tmp_path):
    config = compose(
        ["method=mbde", "backbone=resnet8", "method.regularizers=[{name: cd, weight: 1}]"]
    )
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config))
    assert compose([str(path)]) == config


def test_a_list_of_backbones():
    config = compose(["backbone=[resnet8,resnet14]"])
    assert [backbone.name for backbone in config.backbones] == ["resnet8", "resnet14"]
    assert config.backbone_name == "resnet8+resnet14"


@pytest.mark.parametrize("setting", ["backbone", "method.teacher_backbone"])
def test_what_is_wrong_with_a_backbone_is_said_of_the_setting_that_names_it(setting):
    for value, said in (("nosuch", r"\.name: There is no backbone 'nosuch'"), ("7", r"\.name: ")):
        with pytest.raises(ConfigError, match=f"^{setting}{said}"):
            compose(["method=kd", f"{setting}={value}"])
    with pytest.raises(ConfigError, match=rf"^{setting}\.kwarg: .*Did you mean kwargs"):
        compose(["method=kd", f"{setting}.name=resnet8", f"{setting}.kwarg=1"])


def test_the_digest_stands_for_all_that_decides_a_result_but_the_seed():
    base = compose(["seed=0"])
    assert base.identity() == compose(["out=elsewhere", "resume=never"]).identity()
    assert base.identity() != compose(["method.temperature=2"]).identity()


@pytest.mark.parametrize(
    ("argument", "where", "suggestion"),
    [
        ("method=mdbe", "method.name", "mbde"),
        ("backbone=resnt20", "backbone", "resnet20"),
        ("dataset=digit", "dataset.name", "digits"),
        ("method.temprature=4", "method.temprature", "temperature"),
        ("method.aggregator=fmm", "method.aggregator.name", "ffm"),
        ("method.aggregator.hiden=3", "method.aggregator.hiden", "hidden"),
        ("method.regularizers=[ce]", "method.regularizers", "cd"),
        ("epoch=3", "epoch", "epochs"),
        ("optimizer.momentun=0.5", "optimizer.momentun", "momentum"),
        ("optimizer=smg", "optimizer.name", "sgd"),
        ("dataset.augment.flips=1", "dataset.augment.flips", "flip"),
    ],
)
def test_a_wrong_name_is_located_and_the_right_one_suggested(argument, where, suggestion):
    text = message(argument)
    assert text.startswith(where)
    assert suggestion in text


@pytest.mark.parametrize(
    ("argument", "where"),
    [
        ("epochs=many", "epochs"),
        ("epochs=0", "epochs"),
        ("lr=-1", "lr"),
        ("device=gpu", "device"),
        ("method.temperature=0", "method.temperature"),
        ("schedule.milestones=[2]", "schedule.milestones"),
        ("method=3", "method"),
        ("backbone=[]", "backbone"),
    ],
)
def test_a_wrong_value_is_located(argument, where):
    assert message(argument).startswith(where)


def test_what_is_neither_recipe_nor_override(tmp_path):
    assert "recipe 'paper'" in message("paper")
    assert "papers" in message("paper")
    assert "KEY=VALUE" in message("=3")
    broken = tmp_path / "broken.yaml"
    broken.write_text("epochs: [1\n")
    assert str(broken) in message(str(broken))
    listed = tmp_path / "list.yaml"
    listed.write_text("- 1\n")
    assert "mapping" in message(str(listed))
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\x80\x81\xff\x00")
    assert str(binary) in message(str(binary))


def test_a_name_longer_than_any_file_has_is_no_recipe():
    assert "There is no recipe" in message("x" * 5000)


def test_yaml_cannot_execute_anything(tmp_path):
    path = tmp_path / "evil.yaml"
    path.write_text("epochs: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(UserError):
        read_yaml(path)


@given(st.text(max_size=40))
def test_any_argument_composes_or_is_explained(argument):
    try:
        config = compose([argument])
    except UserError as error:
        explanation = str(error)
    else:
        explanation = yaml.safe_load(to_yaml(config))["method"]["name"]
    assert explanation


def test_a_config_error_grows_its_path_outwards():
    error = ConfigError("no", ("inner",)).inside("outer")
    assert str(error) == "outer.inner: no"
