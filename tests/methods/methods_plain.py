"""The papers' equations, written down plainly: loops over peers and samples, in float64.

Nothing here uses kdzoo's own losses, aggregators, regularizers or peers. What comes from kdzoo are
numbers only: the weights of each peer (as a whole network) and of the method's heads.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from kdzoo.backbones.backbone import Backbone

K = 5
SIZE = (3, 16, 16)


class Tiny(nn.Module):
    """Three stages and a classifier; every step is spelled out in ``run``."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.stage0 = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.stage1 = nn.Sequential(
            nn.Conv2d(4, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.Tanh()
        )
        self.stage2 = nn.Sequential(
            nn.Conv2d(width, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.Tanh()
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8, K)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.pool(self.stage2(self.stage1(self.stage0(x)))).flatten(1))

    def deepen(self, blocks: int) -> None:
        for _ in range(blocks):
            self.stage2.append(nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.Tanh()))


def tiny_backbone(width: int = 6) -> Backbone:
    return Backbone("tiny", lambda: Tiny(width), K, SIZE, split_at="stage1", classifier="fc")


@dataclass
class Peers:
    """What plain networks say: lists over the peers; ``early`` holds each peer's first stage."""

    z: list[Tensor] = field(default_factory=list)
    h: list[Tensor] = field(default_factory=list)
    features: list[Tensor] = field(default_factory=list)
    trunk: list[Tensor] = field(default_factory=list)
    early: list[Tensor] = field(default_factory=list)
    weights: list[Tensor] = field(default_factory=list)

    def first(self, count: int) -> "Peers":
        return Peers(*(values[:count] for values in vars(self).values()))


def run(networks: list[Tiny], x: Tensor, joint_trunk: bool) -> Peers:
    """Run the networks, each on x [B, C, H, W] or on its own x[p] of [P, B, C, H, W].

    With ``joint_trunk`` the first two stages see the samples of all peers in one batch, which
    matters for batch norm.
    """
    peers = Peers()
    for p, network in enumerate(networks):
        own = x[p] if x.ndim == 5 else x
        if joint_trunk and x.ndim == 5:
            early = network.stage0(x.flatten(0, 1))
            trunk = network.stage1(early)[p * len(own) : (p + 1) * len(own)]
        else:
            early = network.stage0(own)
            trunk = network.stage1(early)
        features = network.stage2(trunk)
        h = torch.stack([sample.mean(dim=(1, 2)) for sample in features])
        peers.z.append(torch.stack([network.fc.weight @ row + network.fc.bias for row in h]))
        peers.h.append(h)
        peers.features.append(features)
        peers.trunk.append(trunk)
        peers.early.append(early)
        peers.weights.append(network.fc.weight)
    return peers


def log_probabilities(row: Tensor, temperature: float = 1.0) -> Tensor:
    return row / temperature - torch.log(torch.exp(row / temperature).sum())


def probabilities(row: Tensor) -> Tensor:
    return torch.exp(log_probabilities(row))


def ce(z: Tensor, y: Tensor) -> Tensor:
    """Mean over the samples of -sum_k y_k log p_k; y [B, K]."""
    losses = [-(y[b] * log_probabilities(z[b])).sum() for b in range(len(z))]
    return sum(losses) / len(losses)


def kl(teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
    """T^2 times the mean over the samples of KL(teacher || student)."""
    losses = []
    for t, s in zip(teacher, student, strict=True):
        log_t, log_s = log_probabilities(t, temperature), log_probabilities(s, temperature)
        losses.append((torch.exp(log_t) * (log_t - log_s)).sum())
    return temperature**2 * sum(losses) / len(losses)


def ramp(progress: float, length: float) -> float:
    return math.exp(-5 * (1 - min(progress / length, 1)) ** 2) if length else 1.0


def batch_norm(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    """Batch norm in training mode of x [B, C] or [B, C, h, w]."""
    columns = []
    for c in range(x.shape[1]):
        values = x[:, c]
        variance = ((values - values.mean()) ** 2).mean()
        columns.append((values - values.mean()) / torch.sqrt(variance + 1e-5) * gamma[c] + beta[c])
    return torch.stack(columns, dim=1)


# Aggregators: (peers, head) -> target logits, one a peer, and the ensemble. ``head`` holds the
# aggregator's parameters by name.


def mean(peers: Peers, head: dict[str, Tensor]) -> tuple[list[Tensor], Tensor]:
    ensemble = sum(peers.z) / len(peers.z)
    return [ensemble] * len(peers.z), ensemble


def leave_one_out(peers: Peers, head: dict[str, Tensor]) -> tuple[list[Tensor], Tensor]:
    count = len(peers.z)
    targets = [sum(peers.z[j] for j in range(count) if j != i) / (count - 1) for i in range(count)]
    return targets, sum(peers.z) / count


def weighted(peers: Peers, scores: Tensor) -> tuple[list[Tensor], Tensor]:
    """``scores`` [B, P], or [B, P, K] where each class has weights of its own."""
    rows = []
    for b, score in enumerate(scores):
        weights = torch.exp(score) / torch.exp(score).sum(dim=0)
        rows.append(sum(weights[i] * z[b] for i, z in enumerate(peers.z)))
    ensemble = torch.stack(rows)
    return [ensemble] * len(peers.z), ensemble


def gate(peers: Peers, head: dict[str, Tensor]) -> tuple[list[Tensor], Tensor]:
    pooled = torch.stack([sample.mean(dim=(1, 2)) for sample in peers.trunk[0]])
    linear = torch.stack([head["score.0.weight"] @ row + head["score.0.bias"] for row in pooled])
    normed = batch_norm(linear, head["score.1.weight"], head["score.1.bias"])
    return weighted(peers, torch.clamp(normed, min=0))


def ffm(peers: Peers, head: dict[str, Tensor]) -> tuple[list[Tensor], Tensor]:
    stacked = torch.cat(peers.features, dim=1)
    fused = torch.einsum("oc,bchw->bohw", head["fuse.0.weight"][:, :, 0, 0], stacked)
    fused = torch.clamp(batch_norm(fused, head["fuse.1.weight"], head["fuse.1.bias"]), min=0)
    scores = []
    for sample in fused:
        hidden = head["score.0.weight"] @ sample.mean(dim=(1, 2)) + head["score.0.bias"]
        score = head["score.2.weight"] @ torch.clamp(hidden, min=0) + head["score.2.bias"]
        # as many scores as peers, or for each peer as many as classes, peer after peer
        scores.append(score if len(score) == len(peers.z) else score.view(len(peers.z), -1))
    return weighted(peers, torch.stack(scores))


def attention(peers: Peers, head: dict[str, Tensor]) -> tuple[list[Tensor], Tensor]:
    count, batch = len(peers.z), len(peers.z[0])
    targets = []
    for i in range(count):
        rows = []
        for b in range(batch):
            query = head["query.weight"] @ peers.h[i][b]
            scores = [query @ (head["key.weight"] @ peers.h[j][b]) for j in range(count)]
            total = sum(torch.exp(score) for score in scores)
            rows.append(
                sum(torch.exp(s) / total * z[b] for s, z in zip(scores, peers.z, strict=True))
            )
        targets.append(torch.stack(rows))
    return targets, sum(peers.z) / count


def fused_map(peers: Peers, head: dict[str, Tensor]) -> Tensor:
    """FFL's fusion of the last maps."""
    stacked = torch.cat(peers.features, dim=1)
    depthwise = []
    padded = nn.functional.pad(stacked, (1, 1, 1, 1))
    height, width = stacked.shape[-2:]
    for c in range(stacked.shape[1]):
        kernel = head["fuse.0.weight"][c, 0]
        shifts = [
            kernel[i, j] * padded[:, c, i : i + height, j : j + width]
            for i in range(3)
            for j in range(3)
        ]
        depthwise.append(sum(shifts))
    deep = batch_norm(torch.stack(depthwise, 1), head["fuse.1.weight"], head["fuse.1.bias"])
    deep = torch.clamp(deep, min=0)
    point = torch.einsum("oc,bchw->bohw", head["fuse.3.weight"][:, :, 0, 0], deep)
    return torch.clamp(batch_norm(point, head["fuse.4.weight"], head["fuse.4.bias"]), min=0)


def fusion(peers: Peers, head: dict[str, Tensor]) -> tuple[list[Tensor], Tensor]:
    point = fused_map(peers, head)
    ensemble = torch.stack(
        [head["classifier.weight"] @ s.mean(dim=(1, 2)) + head["classifier.bias"] for s in point]
    )
    return [ensemble] * len(peers.z), ensemble


def concat(peers: Peers, head: dict[str, Tensor]) -> tuple[list[Tensor], Tensor]:
    rows = []
    for b in range(len(peers.z[0])):
        everything = torch.cat([h[b] for h in peers.h])
        rows.append(head["classifier.weight"] @ everything + head["classifier.bias"])
    ensemble = torch.stack(rows)
    return [ensemble] * len(peers.z), ensemble


def hierarchy(peers: Peers, head: dict[str, Tensor]) -> tuple[list[Tensor], Tensor]:
    """AHBF's ensembles e_1 = z_1 to e_P."""
    fused, ensembles = peers.features[0], [peers.z[0]]
    for i in range(1, len(peers.z)):
        step = {name.split(".", 2)[2]: v for name, v in head.items() if f"steps.{i - 1}." in name}
        both = torch.cat([fused, peers.features[i]], dim=1)
        fused = torch.einsum("oc,bchw->bohw", step["fuse.0.weight"][:, :, 0, 0], both)
        fused = batch_norm(fused, step["fuse.1.weight"], step["fuse.1.bias"])
        pooled = [sample.mean(dim=(1, 2)) for sample in fused]
        linear = torch.stack(
            [step["score.0.weight"] @ row + step["score.0.bias"] for row in pooled]
        )
        scores = batch_norm(linear, step["score.1.weight"], step["score.1.bias"]).clamp(min=0)
        rows = []
        for b, score in enumerate(scores):
            g = torch.exp(score) / torch.exp(score).sum()
            rows.append(g[0] * ensembles[-1][b] + g[1] * peers.z[i][b])
        ensembles.append(torch.stack(rows))
    return ensembles, ensembles[-1]


AGGREGATORS = {
    "mean": mean,
    "leave_one_out": leave_one_out,
    "gate": gate,
    "ffm": ffm,
    "attention": attention,
    "fusion": fusion,
    "concat": concat,
    "hierarchy": hierarchy,
}


# Regularizers: peers -> loss, without the weight.


def cd(peers: Peers) -> Tensor:
    count = len(peers.weights)
    return sum(
        torch.sqrt(((peers.weights[i].T @ peers.weights[j]) ** 2).sum())
        for i in range(count)
        for j in range(i + 1, count)
    )


def cd_cosine(peers: Peers) -> Tensor:
    count, cosines = len(peers.weights), []
    for i in range(count):
        for j in range(i + 1, count):
            for a, b in zip(peers.weights[i], peers.weights[j], strict=True):
                cosines.append(abs(a @ b) / (torch.sqrt(a @ a) * torch.sqrt(b @ b)))
    return sum(cosines) / len(cosines)


def negative_correlation(peers: Peers) -> Tensor:
    """sum_i 1/2 (p_i - m) . sum_{j != i} (p_j - m), as in the paper; mean over the samples."""
    count, batch = len(peers.z), len(peers.z[0])
    penalties = []
    for b in range(batch):
        p = [probabilities(z[b]) for z in peers.z]
        m = sum(p) / count
        for i in range(count):
            others = sum(p[j] - m for j in range(count) if j != i)
            penalties.append((p[i] - m) @ others / 2)
    return sum(penalties) / batch


REGULARIZERS = {
    "cd": cd,
    "cd_cosine": cd_cosine,
    "negative_correlation": negative_correlation,
}
