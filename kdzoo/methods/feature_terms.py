"""The feature terms of a method with a trained teacher: built, and given what both networks see."""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from torch import Tensor, nn

from kdzoo import registry
from kdzoo.errors import ConfigError
from kdzoo.feature_terms.base import Features, FeatureTerm
from kdzoo.feature_terms.settings import FeatureTermConfig
from kdzoo.methods.outputs import MethodOutputs
from kdzoo.peers.hooked import HookedOutputs
from kdzoo.peers.watched import StageKey
from kdzoo.samples.batch import Batch


class FeatureTerms(nn.ModuleDict):
    """The feature terms that a config names, by name.

    Args:
        chosen: their settings.
        example: outputs of student and teacher (:func:`with_teacher`) for a batch of two.

    Raises:
        ConfigError: their features cannot be compared.
    """

    def __init__(self, chosen: Sequence[FeatureTermConfig], example: MethodOutputs) -> None:
        super().__init__()
        self.chosen = tuple(chosen)
        for term in chosen:
            part = registry.feature_terms.get(term.name)
            self[term.name] = part(term, *_features(term, example))

    def begin(self, samples: int) -> None:
        """Called once before a training on so many samples."""
        for part in cast(Sequence[FeatureTerm], self.values()):
            part.begin(samples)

    def check_one_sample(self) -> None:
        """Make sure that every term can be trained on a batch of one sample.

        Raises:
            ConfigError: one needs more.
        """
        for name, part in cast(dict[str, FeatureTerm], self).items():
            if part.min_batch > 1:
                raise ConfigError(
                    f"{name} needs batches of {part.min_batch} samples or more, and there is one "
                    "of a single sample. Take another batch size.",
                    ("method", "feature_terms", name),
                )

    def forward(self, outputs: MethodOutputs, batch: Batch) -> dict[str, Tensor]:
        """Each term by name, times its weight.

        Args:
            outputs: of student and teacher.
            batch: that both have seen.
        """
        return {
            term.name: term.weight * self[term.name](*_features(term, outputs), batch)
            for term in self.chosen
        }


def with_teacher(outputs: MethodOutputs, said: HookedOutputs) -> MethodOutputs:
    """The outputs of a student with its teacher's logits, embedding and maps beside them."""
    stages = dict(outputs.stages)
    stages.update((_of_teacher(key), (seen,)) for key, seen in said.watched.items())
    return replace(
        outputs,
        teachers=said.logits.unsqueeze(0),
        teacher_embeddings=(said.embedding,),
        stages=stages,
    )


def _of_teacher(key: StageKey) -> str:
    """What a stage of the teacher is called among the maps that the loss is given."""
    return f"teacher {key!r}"


def _features(term: FeatureTermConfig, outputs: MethodOutputs) -> tuple[Features, Features]:
    """What a term compares, in the precision of the loss: of the student and of its teacher."""
    dtype = outputs.logits.dtype
    own = tuple(outputs.stages[key][0].to(dtype) for key, _ in term.compared)
    theirs = tuple(outputs.stages[_of_teacher(key)][0].to(dtype) for _, key in term.compared)
    return (
        Features(own, outputs.embeddings[0].to(dtype)),
        Features(theirs, outputs.teacher_embeddings[0].to(dtype)),
    )
