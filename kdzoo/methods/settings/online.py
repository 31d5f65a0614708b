"""The settings of the methods whose peers, trained together, teach each other."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from kdzoo.aggregators.settings import AggregatorChoice
from kdzoo.component import ComponentConfig, named
from kdzoo.errors import ConfigError
from kdzoo.identity import NotAtDefault
from kdzoo.methods.config import (
    DistillationConfig,
    MethodConfig,
    SoftenedConfig,
)
from kdzoo.registry import methods
from kdzoo.regularizers.settings import RegularizerChoice


@methods.register_config("independent")
class IndependentConfig(MethodConfig):
    peers: Annotated[int, Field(ge=1)] = 1
    """P; 1 is plain training."""
    layout: Literal["branched", "independent"] = "independent"
    """How they share: one trunk with P branches, or P whole networks."""


def _fusion(chosen: ComponentConfig) -> ComponentConfig:
    if chosen.name != "fusion":
        raise ValueError(f"ffsd compares fused maps, and {chosen.name} makes none; leave it out.")
    return chosen


def _hierarchy(chosen: ComponentConfig) -> ComponentConfig:
    if chosen.name != "hierarchy":
        raise ValueError(
            f"ahbf teaches by a hierarchy of ensembles, and {chosen.name} makes none; leave it out."
        )
    return chosen


def _refuse(config: MethodConfig, settings: Sequence[str], why: str) -> None:
    """Refuse what differs from its default among settings that would change nothing."""
    for setting in settings:
        if getattr(config, setting) != type(config).model_fields[setting].default:
            raise ConfigError(why, (setting,))


class CohortConfig(DistillationConfig):
    """What the methods share whose networks learn together, and from the first step on."""

    peers: Annotated[int, Field(ge=2)] = 2
    """P, how many networks are trained together; with several backbones, one for each."""
    layout: Literal["branched", "independent"] = "independent"
    """How they share: one trunk with P branches, or P whole networks (the paper's)."""
    ramp_up: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The fraction of the training over which the weight w of the distillation rises to 1; the
    paper has none."""


@methods.register_config("dml")
class DMLConfig(CohortConfig):
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """T, which softens the distributions that are compared; the paper compares them as they are."""


@methods.register_config("cl_ilr")
class CLILRConfig(DistillationConfig):
    layout: Literal["branched"] = "branched"
    """One trunk with P branches; without a trunk there is no gradient to rescale."""
    aggregator: AggregatorChoice = named("leave_one_out")
    """What teaches the peers: the mean of all others."""


@methods.register_config("one")
class ONEConfig(DistillationConfig):
    aggregator: AggregatorChoice = named("gate")
    """What weighs the peers: the gate on the trunk's features."""


@methods.register_config("okddip")
class OKDDipConfig(DistillationConfig):
    peers: Annotated[int, Field(ge=3)] = 4
    """P, the leader included: P-1 auxiliary peers and, the last, one group leader."""
    aggregator: AggregatorChoice = named("attention")
    """What gives each auxiliary peer its targets: attention over the auxiliary peers."""


@methods.register_config("mbde")
class MBDEConfig(ONEConfig):
    aggregator: AggregatorChoice = named("ffm")
    """What weighs the peers: the Feature Fusion Module on their last blocks."""
    regularizers: tuple[RegularizerChoice, ...] = named(("cd",))
    """The Classifier Diversification loss."""


@methods.register_config("ffl")
class FFLConfig(DistillationConfig):
    peers: Annotated[int, Field(ge=2)] = 2
    """P, how many sub-networks are fused; the paper takes two."""
    aggregator: AggregatorChoice = named("fusion")
    """What makes the fused prediction: a classifier on the peers' fused last-block features."""


@methods.register_config("kdcl")
class KDCLConfig(CohortConfig):
    variant: Literal["naive", "linear", "minlogit", "general"] = "minlogit"
    """How the target is made of the peers' logits. ``naive``: those with the lowest cross-entropy.
    ``linear``: their convex combination with the lowest. ``minlogit``: for each class the lowest
    logit, counted from the true class's. ``general``: a fixed combination whose expected error is
    the lowest."""
    weight: Annotated[float, Field(ge=0)] = 1.0
    """lambda, what the distillation is multiplied by."""
    temperature: Annotated[float, Field(gt=0)] = 2.0
    """T, which softens the distributions that are compared."""


@methods.register_config("pcl")
class PCLConfig(DistillationConfig):
    aggregator: AggregatorChoice = named("concat")
    """The peer ensemble teacher: a classifier on the peers' concatenated embeddings."""
    decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """How much of the averaged weights each step keeps, once there have been 1/(1-decay) steps."""


@methods.register_config("dkel")
class DKELConfig(PCLConfig):
    fade: Annotated[float, Field(gt=0)] = 2 / 300
    """The fraction of the training over which the weight v of the mean of the other mean teachers
    falls to 1/e; the published code takes 2 of 300 epochs."""


@methods.register_config("switokd")
class SwitOKDConfig(SoftenedConfig):
    peers: Literal[2] = 2
    """P: the teacher and, the last, the student; with two backbones, in this order."""
    layout: Literal["independent"] = "independent"
    """Two whole networks."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """T, which softens the distributions that are compared; the paper compares them as they are."""


@methods.register_config("okdph")
class OKDPHConfig(SoftenedConfig):
    peers: Annotated[int, Field(ge=2)] = 2
    """P, how many students the hybrid network is the mean of."""
    layout: Literal["independent"] = "independent"
    """P whole networks, which start from the same weights."""
    temperature: Annotated[float, Field(gt=0)] = 4.0
    """T, which softens the distributions that are compared."""
    omega: Annotated[float, Field(ge=0, le=1)] = 0.8
    """The share of the students' own predictions in the loss of the labels; the hybrid network has
    the rest."""
    beta: Annotated[float, Field(ge=0)] = 0.8
    """What the distillation is multiplied by."""
    gamma: Annotated[float, Field(ge=0, le=1)] = 0.5
    """How far a fusion moves the students towards the hybrid network; 1 makes all of them it."""
    interval: Annotated[int, Field(ge=1)] | Literal["epoch"] = "epoch"
    """How many steps there are from one fusion to the next; ``epoch`` for one after each epoch."""


@methods.register_config("afd")
class AFDConfig(CohortConfig):
    adversarial: Annotated[float, Field(ge=0)] = 0.1
    """What the adversarial loss of the networks is multiplied by."""
    discriminator_lr: Annotated[float, Field(gt=0)] = 0.01
    """What the learning rate is multiplied by for the discriminators."""


@methods.register_config("ffsd")
class FFSDConfig(DistillationConfig):
    peers: Annotated[int, Field(ge=3)] = 3
    """P, the leader included: P-1 students that are fused and, the last, the leader."""
    aggregator: Annotated[AggregatorChoice, AfterValidator(_fusion)] = named("fusion")
    """What makes the fused maps and prediction, ``fusion``; its width can be set."""
    temperature: Annotated[float, Field(gt=0)] = 2.0
    """T, which softens the distributions that are compared."""
    diversity_weight: Annotated[float, Field(ge=0)] = 1e-5
    """lambda_div, what the distance of a student's map from the turned map of the student before it
    is multiplied by."""
    fusion_weight: Annotated[float, Field(ge=0)] = 10.0
    """lambda_fus, what the distances of the leader's map from the fused ones are multiplied by."""
    ramp_up: Annotated[float, Field(ge=0, le=1)] = 5 / 300
    """The fraction of the training over which the weight w of the terms on maps rises to 1; the
    authors take 5 of 300 epochs."""
    self_distillation: Annotated[bool, NotAtDefault] = False
    """Whether earlier stages learn, too, from maps that decoders rebuild, as in the paper; the
    settings below are those of the decoders."""
    rebuilt_stages: Annotated[int, Field(ge=1), NotAtDefault] = 2
    """How many stages before the last one the decoders rebuild."""
    decoder_weight: Annotated[float, Field(ge=0), NotAtDefault] = 1000.0
    """lambda_sd, what the loss of the decoders is multiplied by."""
    decoder_lr: Annotated[float, Field(gt=0), NotAtDefault] = 1.0
    """What the learning rate is multiplied by for the decoders."""

    @model_validator(mode="after")
    def _decoders_are_there(self) -> "FFSDConfig":
        if not self.self_distillation:
            _refuse(
                self,
                ("rebuilt_stages", "decoder_weight", "decoder_lr"),
                "ffsd has no decoders; it does with method.self_distillation=true.",
            )
        return self


@methods.register_config("ahbf")
class AHBFConfig(SoftenedConfig):
    peers: Annotated[int, Field(ge=2)] = 4
    """P, how many branches are fused one after the other; the first is deployed."""
    layout: Literal["branched"] = "branched"
    """One trunk with P branches."""
    aggregator: Annotated[AggregatorChoice, AfterValidator(_hierarchy)] = named("hierarchy")
    """What makes an ensemble of each branch and those before it, ``hierarchy``."""
    extra_blocks: Annotated[int, Field(ge=0)] = 4
    """How many blocks each branch has more in its last stage than the branch before it."""
    weight: Annotated[float, Field(ge=0)] = 0.75
    """c, what all distillation is multiplied by, besides w."""
    ensemble_weight: Annotated[float, Field(ge=0)] = 2.0
    """lambda_1, what the distillation from an ensemble to what it is made of is multiplied by."""
    branch_weight: Annotated[float, Field(ge=0)] = 4.0
    """lambda_2, what the distillation from a branch to the ensemble before it is multiplied by."""
    ramp_up: Annotated[float, Field(ge=0, le=1)] = 240 / 300
    """The fraction of the training over which w rises to 1; the authors take 240 of 300 epochs."""


@methods.register_config("mcl")
class MCLConfig(SoftenedConfig):
    peers: Annotated[int, Field(ge=2)] = 2
    """P, how many networks are trained together; the paper has 2 and 4."""
    layout: Literal["branched", "independent"] = "independent"
    """How they share: one trunk with P branches, or P whole networks (the paper's)."""
    alpha: Annotated[float, Field(ge=0)] = 0.1
    """What the contrastive terms VCL and ICL are multiplied by."""
    gamma: Annotated[float, Field(ge=0)] = 1.0
    """What the soft terms, in which similarities are taught, are multiplied by."""
    tau: Annotated[float, Field(gt=0)] = 0.1
    """The temperature of the contrast: what cosines are divided by."""
    width: Annotated[int, Field(ge=1)] = 128
    """Of the embeddings that are compared, and of the layer before them."""
    logits: bool = False
    """Whether the peers are taught by the mean of their logits besides."""
    per_class: Annotated[int, Field(ge=2)] = 2
    """How many images of each of its classes a batch holds."""

    @model_validator(mode="after")
    def _logits_are_compared(self) -> "MCLConfig":
        set_for_them = {
            "divergence": self.divergence.name != "kl",
            "standardize": self.standardize,
            "aggregator": self.aggregator.name != "mean",
        }
        for setting, differs in set_for_them.items():
            if differs and not self.logits:
                raise ConfigError(
                    "mcl compares no logits; it does with method.logits=true.", (setting,)
                )
        return self


@methods.register_config("lmcl")
class LMCLConfig(SoftenedConfig):
    peers: Annotated[int, Field(ge=2)] = 2
    """P, how many networks are trained together; the authors report on
    pairs."""
    layout: Literal["independent"] = "independent"
    """P whole networks, each with exits of its own."""
    exits: Annotated[int, Field(ge=1)] = 2
    """How many exits each network has besides its own classifier, after the stages just before its
    last."""
    alpha: Annotated[float, Field(ge=0)] = 0.1
    """What the contrastive terms VCL and ICL are multiplied by."""
    gamma: Annotated[float, Field(ge=0)] = 1.0
    """What the soft terms, in which similarities are taught, are multiplied by."""
    tau: Annotated[float, Field(gt=0)] = 0.1
    """The temperature of the contrast: what cosines are divided by."""
    width: Annotated[int, Field(ge=1)] = 128
    """Of the embeddings that are compared, and of the layer before them."""
    per_class: Annotated[int, Field(ge=2)] = 2
    """How many images of each of its classes a batch holds."""
    meta_every: Annotated[Annotated[int, Field(ge=1)] | None, NotAtDefault] = None
    """After every how many steps of an epoch a meta step learns how much each pair of exits counts;
    the paper takes 50. Left out, all count the same."""
    meta_steps: Annotated[int, Field(ge=1), NotAtDefault] = 2
    """How many steps on the contrastive terms a meta step, which ``meta_every`` asks for, looks
    ahead."""

    @model_validator(mode="after")
    def _meta_steps_are_taken(self) -> "LMCLConfig":
        if self.meta_every is None:
            _refuse(
                self, ("meta_steps",), "lmcl takes no meta step; it does with method.meta_every=50."
            )
        return self


@methods.register_config("mcl_okd")
class MCLOKDConfig(SoftenedConfig):
    peers: Annotated[int, Field(ge=2)] = 4
    """P, how many peers are trained together; the last is deployed."""
    beta: Annotated[float, Field(ge=0)] = 0.025
    """What the contrastive loss is multiplied by."""
    tau: Annotated[float, Field(gt=0)] = 0.1
    """The temperature of the contrast: what cosines are divided by."""
    width: Annotated[int, Field(ge=1)] = 128
    """Of the embeddings that are compared and remembered."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """The share of what was remembered of a sample in what is remembered next."""
    negatives: Annotated[int, Field(ge=1)] = 16384
    """M, how many samples of other classes each image is told apart from."""
