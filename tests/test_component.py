"""Settings that are chosen by name, and what their names are where none is given."""

import pytest

from kdzoo import registry
from kdzoo.aggregators.base import AggregatorChoice
from kdzoo.component import Config, named, validate
from kdzoo.errors import ConfigError
from kdzoo.regularizers.base import RegularizerChoice


class Choices(Config):
    aggregator: AggregatorChoice = named("attention")
    regularizers: tuple[RegularizerChoice, ...] = named(("cd",))


class NoDefaults(Config):
    aggregator: AggregatorChoice
    regularizers: tuple[RegularizerChoice, ...] = ()


def test_a_default_is_said_once_and_looked_up():
    chosen = Choices()
    assert type(chosen.aggregator) is registry.aggregators.get("attention").Config
    assert chosen.model_dump()["aggregator"] == {"name": "attention", "reduction": 8}
    assert [part.name for part in chosen.regularizers] == ["cd"]
    assert type(chosen.aggregator.name) is str


def test_settings_without_a_name_are_those_of_the_default():
    chosen = validate(Choices, {"aggregator": {"reduction": 2}, "regularizers": [{"weight": 3.0}]})
    assert (chosen.aggregator.name, chosen.aggregator.reduction) == ("attention", 2)
    assert [(part.name, part.weight) for part in chosen.regularizers] == [("cd", 3.0)]
    assert validate(Choices, {"aggregator": {"name": "mean"}}).aggregator.name == "mean"


@pytest.mark.parametrize(
    "values",
    [
        {"aggregator": {"reduction": 2}},
        {"aggregator": "mean", "regularizers": [{"weight": 3.0}]},
    ],
)
def test_settings_without_a_name_are_refused_where_there_is_no_default(values):
    with pytest.raises(ConfigError, match="name: This setting is needed and has no default"):
        validate(NoDefaults, values)
