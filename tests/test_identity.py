"""Which settings make a run another run."""

import json
from typing import Annotated

import pytest
from hand_made import IDENTITIES

from kdzoo import registry
from kdzoo.component import Component, Config, by_name, named
from kdzoo.compose import compose
from kdzoo.config import RunConfig
from kdzoo.data.dataset import Dataset, DatasetConfig
from kdzoo.identity import NotIdentity, identity_of
from kdzoo.registry import Registry

HOW = [
    "device=cpu",
    "out=elsewhere",
    "resume=never",
    "training.threads=3",
    "training.tracker=tensorboard",
    "dataset.root=there",
    "dataset.cache=there",
    "dataset.workers=3",
    "dataset.pipeline=loader",
]
LATER = [
    "dataset.per_class=null",
    "method.divergence=kl",
    "method.divergence={name: kl}",
    "method.standardize=false",
]
WHAT = [
    "method.divergence=js",
    "method.standardize=true",
    "lr=0.2",
    "training.compile=true",
    "dataset.on_error=skip",
    "method.peers=2",
    "epochs=7",
]


@pytest.mark.parametrize("override", HOW)
def test_where_and_how_to_compute_is_no_part_of_a_runs_identity(override):
    assert compose([override]).identity() == compose([]).identity()


@pytest.mark.parametrize("override", LATER)
def test_a_setting_that_came_later_does_not_make_an_old_run_another(override):
    identity = compose(["method=mbde", override]).identity()
    assert not {"divergence", "standardize"} & {*identity["method"]}
    assert "per_class" not in identity["dataset"]
    assert identity == compose(["method=mbde"]).identity()


@pytest.mark.parametrize("override", WHAT)
def test_what_decides_the_result_is(override):
    assert compose([override]).identity() != compose([]).identity()


def test_an_empty_list_that_came_later_does_not_count_in_a_file_either():
    config = compose(["method=kd", "method.feature_terms=[]"])
    read = json.loads(config.model_dump_json())
    assert read["method"]["feature_terms"] == []
    assert "feature_terms" not in identity_of(read, RunConfig)["method"]
    assert identity_of(read, RunConfig) == identity_of(config.model_dump(mode="json"), RunConfig)


def test_seeds_share_the_digest_but_are_different_runs():
    first, second = (IDENTITIES.identify(compose([seed])) for seed in ("seed=1", "seed=2"))
    assert first.digest() == second.digest()
    assert first.differences(second) == {"seed": "2"}


class Marked(Config):
    what: int = 0
    how: Annotated[int, NotIdentity] = 0


class Part(Config):
    name: str = "part"
    nested: Marked = Marked()
    several: tuple[Marked, ...] = ()
    how: Annotated[int, NotIdentity] = 0


def test_marks_count_in_a_part_of_a_part_and_in_lists():
    parts = Registry("part", "kdzoo.datasets")

    @parts.register("own")
    class Own:
        Config = Part

    class Whole(Config):
        part: Annotated[Component, by_name(parts)] = named("own")

    settings = {
        "name": "own",
        "how": 1,
        "nested": {"what": 2, "how": 3},
        "several": [{"what": 4, "how": 5}, {"what": 6}],
    }
    assert identity_of({"part": settings}, Whole) == {
        "part": {"name": "own", "nested": {"what": 2}, "several": [{"what": 4}, {"what": 6}]}
    }


def test_a_registered_data_sets_own_fields_can_be_marked():
    @registry.datasets.register("marked")
    class MarkedDataset(Dataset):
        class Config(DatasetConfig):
            name: str = "marked"
            mirror: Annotated[str, NotIdentity] = "near"
            version: int = 1

        def load(self):
            raise NotImplementedError

    owns = ("mirror=near", "mirror=far", "version=2")
    runs = [compose(["dataset=marked", f"dataset.{own}"]) for own in owns]
    assert runs[0].identity() == runs[1].identity() != runs[2].identity()


def test_settings_of_what_is_not_installed_or_not_known_stay():
    stored = {
        "device": "cuda",
        "unheard_of": 1,
        "method": {"name": "not_installed", "peers": 2, "own": 3},
        "dataset": {"name": "not_installed", "workers": 4, "own": 5},
        "training": "damaged",
    }
    assert identity_of(stored, RunConfig) == {
        "unheard_of": 1,
        "method": {"name": "not_installed", "peers": 2, "own": 3},
        "dataset": {"name": "not_installed", "own": 5},
        "training": "damaged",
    }
