"""AFD, adversarial feature distillation: networks whose feature maps cannot be told apart."""

from torch import Tensor, nn
from torch.func import functional_call

from kdzoo.methods.base import Batch, Method, MethodOutputs, ParameterGroup
from kdzoo.methods.hooks import with_own_rate
from kdzoo.methods.losses import cross_entropy, ramp_up
from kdzoo.methods.settings import AFDConfig
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.registry import methods


@methods.register("afd")
class AFD(Method):
    """Mutual learning of predictions, and of feature maps by discriminators of whose they are.

    ``sum_i [CE(z_i, y) + w/(P-1) sum_{j != i} KL(j || i) + adversarial (1 - D_i(T_i(f_i)))^2]`` for
    the networks, with f_i the last map and T_i a transfer layer; for the discriminators
    ``sum_i [(1 - D_i(T_j(f_j)))^2 + D_i(T_i(f_i))^2]`` with j the peer after i, cyclically.
    """

    Config = AFDConfig
    paper = (
        "Chung, Park, Kim, Kwak. Feature-map-level Online Adversarial Knowledge Distillation. "
        "ICML 2020. arXiv:2002.01775"
    )
    sees_targets = False
    mixes_backbones = True
    sees_maps = True
    heads_of_peers = ("transfers", "discriminators")

    def build_heads(self, example: PeerOutputs) -> None:
        super().build_heads(example)
        widths = [features.shape[1] for features in example.features]
        self.transfers = nn.ModuleList(nn.Conv2d(width, min(widths), 1) for width in widths)
        self.discriminators = nn.ModuleList(discriminator(min(widths)) for _ in widths)

    def parameter_groups(self) -> list[ParameterGroup]:
        return with_own_rate(self, self.discriminators, self.config.discriminator_lr)

    def loss(self, outputs: MethodOutputs, batch: Batch) -> dict[str, Tensor]:
        z = outputs.logits
        w = ramp_up(batch.progress, self.config.ramp_up)
        said = [
            transfer(features.to(z.dtype))
            for transfer, features in zip(self.transfers, outputs.features, strict=True)
        ]
        imitate, judge = z.new_zeros(()), z.new_zeros(())
        for own, following, network in zip(
            said, said[1:] + said[:1], self.discriminators, strict=True
        ):
            fixed = {name: p.detach() for name, p in network.named_parameters()}
            imitate = imitate + (1 - functional_call(network, fixed, (own,))).square().mean()
            judge = judge + (1 - network(following.detach())).square().mean()
            judge = judge + network(own.detach()).square().mean()
        return {
            "ce": cross_entropy(z, batch.y),
            "kd": w * self.divergence.from_others(z.detach(), z, batch.y),
            "adversarial": self.config.adversarial * imitate,
            "discriminators": judge,
        }


def discriminator(width: int) -> nn.Module:
    """From maps [B, C, h, w] to a judgement of each sample [B, 1] in (0, 1), for any h and w.

    It is bounded and sees normalised maps, for else how hard the networks are pulled has no limit.
    The norm is of one sample, so that no judgement depends on the rest of the batch.
    """
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1),
        nn.GroupNorm(1, width),
        nn.LeakyReLU(0.2),
        nn.Conv2d(width, 1, 3, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Sigmoid(),
    )
