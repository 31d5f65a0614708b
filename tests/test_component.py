"""Settings that are chosen by name, and what their names are where none is given."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

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


class Alternatives(Config):
    jobs: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    stages: tuple[int | str, ...] = ()
    nested: Annotated[str | Annotated[Path, "path"], "one"] | tuple[int, ...] | None = None
    maybe: Annotated[int, Field(ge=1)] | None = None


@pytest.mark.parametrize(
    ("values", "where", "said"),
    [
        ({"jobs": "x"}, "jobs", "or 'auto', not 'x'"),
        ({"jobs": 0}, "jobs", "greater than or equal to 1 or 'auto', not 0"),
        ({"stages": [1, None]}, "stages.1", "not None"),
        ({"nested": {"a": 1}}, "nested", "not {'a': 1}"),
        ({"nested": [1, "a"]}, "nested", "not [1, 'a']"),
        ({"maybe": 0}, "maybe", "greater than or equal to 1, not 0"),
    ],
)
def test_of_a_type_with_alternatives_the_setting_is_named_and_all_of_them(values, where, said):
    with pytest.raises(ConfigError) as caught:
        validate(Alternatives, values)
    assert ".".join(caught.value.where) == where
    assert said in str(caught.value)
