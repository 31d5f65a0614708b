"""What ``kdzoo config`` prints is a recipe of the same config, whatever the fields' types are."""

from typing import Annotated, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from kdzoo.component import Config, validate
from kdzoo.compose import compose, read_stored, read_yaml, to_yaml
from kdzoo.errors import UserError
from kdzoo.yaml_text import dump_yaml

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
ODD = ["null", "~", "", "on", "no", "010", "1e3", "1_0", ".5", "${lr}", "[a]", "{a: 1}"]
WORDS = st.one_of(TEXT, st.sampled_from(ODD))
FINITE = st.floats(-3e38, 3e38).filter(lambda x: x == 0 or abs(x) > 1.3e-38)
PLAIN = st.recursive(
    st.one_of(WORDS, FINITE, st.integers(-(10**30), 10**30), st.booleans(), st.none()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(WORDS.filter(bool), inner, max_size=3)
    ),
    max_leaves=6,
)


class EveryType(Config):
    text: str = "x"
    some_text: str | None = None
    several: str | tuple[str, ...] | None = None
    count: int = 0
    some_count: int | None = None
    number: float = 0.0
    some_number: Annotated[float, Field(gt=0)] | None = None
    either: int | float = 0
    switch: bool = False
    some_switch: bool | None = None
    choice: Literal["auto", "no", 1] = "auto"
    pair: tuple[float, float] = (0.0, 1.0)
    counts: tuple[int, ...] = ()
    texts: tuple[str, ...] = ()
    free: dict[str, object] = {}


VALUES = {
    "text": WORDS,
    "some_text": st.none() | WORDS,
    "several": st.one_of(st.none(), WORDS, st.lists(WORDS, max_size=3).map(tuple)),
    "count": st.integers(-(10**30), 10**30),
    "some_count": st.none() | st.integers(),
    "number": FINITE,
    "some_number": st.none() | st.floats(1e-37, 3e38),
    "either": st.integers() | FINITE,
    "switch": st.booleans(),
    "some_switch": st.none() | st.booleans(),
    "choice": st.sampled_from(["auto", "no", 1]),
    "pair": st.tuples(FINITE, FINITE),
    "counts": st.lists(st.integers(), max_size=4).map(tuple),
    "texts": st.lists(WORDS, max_size=4).map(tuple),
    "free": st.dictionaries(WORDS.filter(bool), PLAIN, max_size=3),
}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("recipe") / "recipe.yaml"


@settings(max_examples=200)
@given(st.fixed_dictionaries({}, optional=VALUES), st.booleans())
def test_every_type_reads_back_as_it_was_written(file, values, unicode):
    config = EveryType.model_construct(**values)
    file.write_text(dump_yaml(config.model_dump(mode="json"), unicode), encoding="utf-8")
    again = validate(EveryType, read_stored(file)).model_dump()
    for key, value in values.items():
        # an unquoted 1 is True to Python's ==
        assert (again[key], type(again[key])) == (value, type(value)), key


@settings(max_examples=60)
@given(st.dictionaries(WORDS.filter(bool), PLAIN, max_size=3), WORDS.filter(bool))
def test_a_recipe_gives_the_same_config(file, kwargs, out):
    try:
        config = compose(settings={"out": out, "backbone": {"name": "resnet8", "kwargs": kwargs}})
    except UserError:
        return  # of a home folder that is not there
    file.write_text(to_yaml(config), encoding="utf-8")
    assert compose([str(file)]) == config
    assert to_yaml(compose(settings=read_yaml(file))) == to_yaml(config)
