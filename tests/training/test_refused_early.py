"""What does not fit together is said before images are decoded and before any other run."""

import pytest

from kdzoo.training import build

NONSENSE = {
    "gate without a trunk": (
        "method=one method.layout=independent",
        "independent peers share none",
    ),
    "too many exits": ("method=byot method.peers=5", "resnet8 has 3 stages"),
    "exits of lmcl": ("method=lmcl method.exits=5", "stage -6"),
    "decoders": ("method=ffsd method.self_distillation=true method.rebuilt_stages=3", "stage -4"),
    "attention": ("method=one method.aggregator=attention", "would never train the aggregator"),
    "a cut that is none": ("method=mbde backbone.split_at=7", "7 is no stage"),
    "a cut by name": ("method=mbde backbone.split_at=layer9", "no stage 'layer9'"),
    "deeper": ("method=ahbf backbone=mobilenetv2 dataset.image_size=32", "cannot be made deeper"),
    "ahbf after the last stage": ("method=ahbf backbone.split_at=3", "no trunk in common"),
    "a student's stage": ("method=kd method.feature_terms=[{name: at, stages: [7]}]", "stage 7"),
    "a teacher's stage": (
        "method=kd method.feature_terms=[{name: at, stages: [1], teacher_stages: [layer8]}]",
        "'layer8'",
    ),
    "maps of 1x1": ("method=ffsd backbone=resnet18 dataset.image_size=8", "1x1"),
    "a regularizer": ("method=independent method.regularizers=[cd]", "cd needs 2 peers"),
}


@pytest.mark.parametrize("case", NONSENSE)
def test_nonsense_is_refused_before_any_work(case, kdzoo, tmp_path, monkeypatch):
    def opened(*args, **kwargs):
        raise AssertionError("the data are opened")

    monkeypatch.setattr(build, "open_data", opened)
    settings, message = NONSENSE[case]
    head, *rest = settings.split(" method.feature_terms=")
    given = [*head.split(), *(f"method.feature_terms={terms}" for terms in rest)]
    if "backbone=" not in settings:
        given.append("backbone=resnet8")
    done = kdzoo("run", *given, f"out={tmp_path}")
    said = " ".join(done.err.replace("\u2502", " ").split())
    assert done.code == 2, said
    assert message in said
    assert not list(tmp_path.iterdir())
