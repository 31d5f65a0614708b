"""The loss of each method, plainly, from its paper's equation."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from methods_plain import (
    Peers,
    batch_norm,
    ce,
    kl,
    probabilities,
    ramp,
)
from torch import Tensor


@dataclass
class Setting:
    """What an equation needs besides the peers.

    ``held`` is what the papers hold constant; a test turns it off to see that it matters.
    """

    y: Tensor
    targets: list[Tensor]
    ensemble: Tensor
    teachers: list[Tensor]
    config: Any
    progress: float
    held: bool = True
    fused: Tensor | None = None
    widen: Tensor | None = None

    @property
    def w(self) -> float:
        return ramp(self.progress, self.config.ramp_up)

    @property
    def temperature(self) -> float:
        return self.config.temperature

    def hold(self, tensor: Tensor) -> Tensor:
        return tensor.detach() if self.held else tensor


def sum_ce(peers: Peers, s: Setting) -> Tensor:
    return sum(ce(z, s.y) for z in peers.z)


def independent(peers: Peers, s: Setting) -> dict[str, Tensor]:
    return {"ce": sum_ce(peers, s)}


def dml(peers: Peers, s: Setting) -> dict[str, Tensor]:
    count, kd = len(peers.z), 0
    for i in range(count):
        for j in range(count):
            if j != i:
                kd += kl(s.hold(peers.z[j]), peers.z[i], s.temperature) / (count - 1)
    return {"ce": sum_ce(peers, s), "kd": s.w * kd}


def cl_ilr(peers: Peers, s: Setting) -> dict[str, Tensor]:
    kd = sum(kl(s.hold(t), z, s.temperature) for t, z in zip(s.targets, peers.z, strict=True))
    return {"ce": sum_ce(peers, s), "kd": s.w * kd}


def one(peers: Peers, s: Setting) -> dict[str, Tensor]:
    kd = sum(kl(s.hold(t), z, s.temperature) for t, z in zip(s.targets, peers.z, strict=True))
    return {"ce": sum_ce(peers, s), "ensemble_ce": ce(s.ensemble, s.y), "kd": s.w * kd}


def okddip(peers: Peers, s: Setting) -> dict[str, Tensor]:
    """The gradient flows through the targets and the mean: nothing is held constant."""
    *auxiliary, leader = peers.z
    first = sum(kl(t, z, s.temperature) for t, z in zip(s.targets, auxiliary, strict=True))
    second = kl(s.ensemble, leader, s.temperature)
    return {"ce": sum_ce(peers, s), "kd": s.w * (first + second)}


def ffl(peers: Peers, s: Setting) -> dict[str, Tensor]:
    mean = sum(peers.z) / len(peers.z)
    kd = sum(kl(s.hold(t), z, s.temperature) for t, z in zip(s.targets, peers.z, strict=True))
    return {
        "ce": sum_ce(peers, s),
        "ensemble_ce": ce(s.ensemble, s.y),
        "ensemble_kd": s.w * kl(s.hold(mean), s.ensemble, s.temperature),
        "kd": s.w * kd,
    }


def pcl(peers: Peers, s: Setting) -> dict[str, Tensor]:
    count, mean_kd = len(peers.z), 0
    for i in range(count):
        for j in range(count):
            if j != i:
                mean_kd += kl(s.teachers[j], peers.z[i], s.temperature) / (count - 1)
    return {**one(peers, s), "mean_kd": s.w * mean_kd}


def dkel(peers: Peers, s: Setting) -> dict[str, Tensor]:
    count, mean_kd = len(peers.z), 0
    v = math.exp(-s.progress / s.config.fade)
    v = v if v >= 0.01 else 0
    for i in range(count):
        others = [s.teachers[j] for j in range(count) if j != i]
        mean = sum(others) / len(others)
        mean_kd += v * kl(mean, peers.z[i], s.temperature)
        for m in others:
            mean_kd += (1 - v) * kl(m, peers.z[i], s.temperature) / len(others)
    return {**one(peers, s), "mean_kd": s.w * mean_kd}


def tf_kd(peers: Peers, s: Setting) -> dict[str, Tensor]:
    alpha, correct, T = s.config.alpha, s.config.correct, s.config.temperature
    (z,), distance = peers.z, 0
    for row, label in zip(z, s.y, strict=True):
        d = torch.full_like(row, (1 - correct) / (len(row) - 1))
        d[label.argmax()] = correct
        teacher, student = probabilities(d / T), probabilities(row)
        distance += (teacher * (teacher.log() - student.log())).sum() / len(z)
    return {"ce": (1 - alpha) * ce(z, s.y), "kd": alpha * distance}


def switokd(peers: Peers, s: Setting) -> dict[str, Tensor]:
    t, student = peers.z
    norms = {"gap": 0.0, "a": 0.0, "b": 0.0}
    for b in range(len(s.y)):
        p_t, p_s = probabilities(t[b]), probabilities(student[b])
        pairs = {"gap": (p_s, p_t), "a": (p_s, s.y[b]), "b": (p_t, s.y[b])}
        for name, (one_, other) in pairs.items():
            norms[name] += (one_ - other).abs().sum().item() / len(s.y)
    a, b = norms["a"], norms["b"]
    delta = a - math.exp(-b / (a + b)) * b
    learning = 0 if norms["gap"] > delta and b < a else 1
    return {
        "ce": ce(student, s.y),
        "kd": kl(s.hold(t), student, s.temperature),
        "teacher_ce": learning * ce(t, s.y),
        "teacher_kd": learning * kl(s.hold(student), t, s.temperature),
    }


def kd(peers: Peers, s: Setting) -> dict[str, Tensor]:
    alpha = s.config.alpha
    return {
        "ce": (1 - alpha) * ce(peers.z[0], s.y),
        "kd": alpha * kl(s.teachers[0], peers.z[0], s.temperature),
    }


def byot(peers: Peers, s: Setting) -> dict[str, Tensor]:
    alpha, batch = s.config.alpha, len(s.y)
    *exits, deepest = peers.z
    distance = 0
    for h in peers.h[:-1]:
        for b in range(batch):
            distance += ((h[b] - s.hold(peers.h[-1][b])) ** 2).sum() / batch
    return {
        "ce": (1 - alpha) * sum_ce(peers, s),
        "kd": alpha * sum(kl(s.hold(deepest), z, s.temperature) for z in exits),
        "features": s.config.feature_weight * distance,
    }


def squared_map(features: Tensor) -> list[Tensor]:
    """For each sample the mean over channels of the squared features, flat."""
    return [sum(channel**2 for channel in s).flatten() / len(s) for s in features]


def length(row: Tensor) -> Tensor:
    return torch.sqrt((row**2).sum())


def apart(ones: list[Tensor], others: list[Tensor]) -> Tensor:
    """The mean over samples and places of the squared difference."""
    off = [((a - b) ** 2).mean() for a, b in zip(ones, others, strict=True)]
    return sum(off) / len(off)


def turned_over(row: Tensor) -> Tensor:
    """FFSD's y* of one sample."""
    half, normal = length(row) / 2, row / length(row)
    threshold = sorted(normal.tolist())[len(row) // 3 - 1]
    turned = []
    for value in normal:
        sign = (value.item() > threshold) - (value.item() < threshold)
        turned.append((half - value) * sign + half)
    return torch.stack(turned)


def ffsd(peers: Peers, s: Setting) -> dict[str, Tensor]:
    """Of the peers, the last is the leader; ``s.ensemble`` sees the students' maps held."""
    config, count, kd, diversity = s.config, len(peers.z) - 1, 0, 0
    *students, leader = peers.z
    for i in range(count):
        for j in range(count):
            if j != i:
                kd += kl(s.hold(students[j]), students[i], s.temperature) / (count - 1)
    maps = [[row / length(row) for row in squared_map(f)] for f in peers.features]
    for i in range(1, count):
        before = squared_map(s.hold(peers.features[i - 1]))
        diversity += apart(maps[i], [turned_over(row) for row in before])
    fused = [row / length(row) for row in squared_map(s.hold(s.fused))]
    wide = torch.einsum("oc,bchw->bohw", s.widen[:, :, 0, 0], peers.features[-1])
    wide = [row / length(row) for row in squared_map(wide)]
    both = s.hold(torch.cat(peers.features[:-1], dim=1))
    both = [row / length(row) for row in squared_map(both)]
    mean = sum(students) / count
    return {
        "ce": sum_ce(peers, s),
        "ensemble_ce": ce(s.ensemble, s.y),
        "kd": kd,
        "ensemble_kd": kl(s.hold(mean), s.ensemble, s.temperature),
        "leader_kd": kl(s.hold(s.ensemble), leader, s.temperature),
        "diversity": s.w * config.diversity_weight * diversity,
        "fusion": s.w * config.fusion_weight * (apart(maps[-1], fused) + apart(wide, both)),
    }


def ahbf(peers: Peers, s: Setting) -> dict[str, Tensor]:
    """Nothing is held constant; e_1 is z_1."""
    config, z, e, T = s.config, peers.z, s.targets, s.temperature
    to_peers = branch = 0
    for i in range(1, len(z)):
        to_peers += kl(e[i], z[i], T) + kl(e[i], e[i - 1], T)
        branch += kl(z[i], e[i - 1], T)
    return {
        "ce": sum_ce(peers, s),
        "ensemble_ce": sum(ce(one, s.y) for one in e[1:]),
        "kd": s.w * config.weight * config.ensemble_weight * to_peers,
        "branch_kd": s.w * config.weight * config.branch_weight * branch,
    }


def uskd(z: Tensor, weak: Tensor, y: Tensor, config: Any, held: bool = True) -> dict[str, Tensor]:
    """z and the weak classifier's logits [B, K], y one-hot."""
    hold = torch.detach if held else (lambda tensor: tensor)
    batch, classes = z.shape
    s, w = torch.stack([probabilities(r) for r in z]), torch.stack([probabilities(r) for r in weak])
    own = [s[b] @ y[b] for b in range(batch)]
    mean, target, rest = sum(p**2 for p in own) / batch, 0, 0
    for b in range(batch):
        target -= hold(own[b] ** 2 + 1 - mean) * torch.log(own[b]) / batch
        k_y = int(y[b].argmax())
        free = [k for k in range(classes) if k != k_y]
        score = {
            k: float(w[b, k] / (1 - w[b, k_y]) + torch.log(s[b, k]) / (1 - torch.log(s[b, k_y])))
            for k in free
        }
        total = sum(1 / rank for rank in range(1, classes))
        among = sum(torch.exp(z[b, k]) for k in free)
        for rank, k in enumerate(sorted(free, key=score.get, reverse=True), start=1):
            rest -= 1 / rank / total * torch.log(torch.exp(z[b, k]) / among) / batch
    return {
        "ce": ce(z, y),
        "target": config.alpha * target,
        "others": config.beta * rest,
        "weak_ce": config.mu * ce(weak, 0.9 * y + 0.1 / classes),
    }


def leave(early: Tensor, head: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """BYOT's exit after features [B, C, h, w]: its embedding and logits."""
    for conv, norm in (
        ("reduce.0", "reduce.1"),
        ("reduce.3", "reduce.4"),
        ("reduce.6", "reduce.7"),
    ):
        kernel = head[f"{conv}.weight"]
        stride = kernel.shape[-1]
        patches = early.unfold(2, stride, stride).unfold(3, stride, stride)
        early = torch.einsum("ocij,bchwij->bohw", kernel, patches)
        early = batch_norm(early, head[f"{norm}.weight"], head[f"{norm}.bias"]).clamp(min=0)
    h = torch.stack([sample.mean(dim=(1, 2)) for sample in early])
    return h, torch.stack([head["classifier.weight"] @ row + head["classifier.bias"] for row in h])


def kdcl(peers: Peers, s: Setting) -> dict[str, Tensor]:
    make = KDCL_TARGETS[s.config.variant]
    rows = [make([z[b] for z in peers.z], s.y[b]) for b in range(len(s.y))]
    target = s.hold(torch.stack(rows))
    kd = sum(kl(target, z, s.temperature) for z in peers.z)
    return {"ce": sum_ce(peers, s), "kd": s.w * s.config.weight * kd}


def naive(z: list[Tensor], y: Tensor) -> Tensor:
    losses = [-(y * torch.log(probabilities(row))).sum().item() for row in z]
    return z[losses.index(min(losses))]


def minlogit(z: list[Tensor], y: Tensor) -> Tensor:
    lowered = [row - row[y.argmax()] for row in z]  # of one-hot labels
    return torch.stack([min(row[k] for row in lowered) for k in range(len(y))])


def linear(z: list[Tensor], y: Tensor) -> Tensor:
    """Two peers: bisection on the slope of CE(a z_0 + (1 - a) z_1), which is convex in a."""
    first, second = (row.detach() for row in z)
    low, high = 0.0, 1.0
    for _ in range(60):
        a = (low + high) / 2
        slope = (probabilities(a * first + (1 - a) * second) - y) @ (first - second)
        low, high = (low, a) if slope > 0 else (a, high)
    return a * z[0] + (1 - a) * z[1]


def general(z: list[Tensor], y: Tensor) -> Tensor:
    """Before the first update the errors count as uncorrelated and alike."""
    return sum(z) / len(z)


def cs_kd(peers: Peers, s: Setting) -> dict[str, Tensor]:
    (z,), kd = peers.z, 0
    classes = [int(row.argmax()) for row in s.y]
    for b in range(len(z)):
        later = [*range(b + 1, len(z)), *range(b + 1)]
        other = next(a for a in later if classes[a] == classes[b])
        kd += kl(s.hold(z[other : other + 1]), z[b : b + 1], s.temperature) / len(z)
    return {"ce": ce(z, s.y), "kd": s.config.weight * kd}


def bake(peers: Peers, s: Setting) -> dict[str, Tensor]:
    """Propagation step by step, a thousand of them, in place of the inverse."""
    (z,), (h,) = peers.z, peers.h
    count, omega = len(z), s.config.omega
    said = torch.stack([probabilities(s.hold(row) / s.temperature) for row in z])
    unit = [s.hold(row) / (s.hold(row) ** 2).sum().sqrt() for row in h]
    alike = torch.zeros(count, count, dtype=z.dtype)
    for a in range(count):
        weights = {b: torch.exp(unit[a] @ unit[b]) for b in range(count) if b != a}
        for b, weight in weights.items():
            alike[a, b] = weight / sum(weights.values())
    mixed = said
    for _ in range(1000):
        mixed = omega * alike @ mixed + (1 - omega) * said
    logits = s.temperature * torch.log(mixed)
    return {"ce": ce(z, s.y), "kd": s.config.weight * kl(logits, z, s.temperature)}


def ddgsd(peers: Peers, s: Setting) -> dict[str, Tensor]:
    (one, other), (h_one, h_other) = peers.z, peers.h
    kd = kl(s.hold(other), one, s.temperature) + kl(s.hold(one), other, s.temperature)
    apart = sum(a - b for a, b in zip(h_one, h_other, strict=True)) / len(one)
    return {
        "ce": (ce(one, s.y) + ce(other, s.y)) / 2,
        "kd": s.config.weight * kd,
        "features": s.config.feature_weight * (apart**2).sum(),
    }


def two_layers(h: Tensor, head: dict[str, Tensor]) -> Tensor:
    """Linear, ReLU, linear."""
    hidden = (h @ head["0.weight"].T + head["0.bias"]).clamp(min=0)
    return hidden @ head["2.weight"].T + head["2.bias"]


def contrast(logits: Tensor, classes: list[int], counts: Sequence[Any] | None = None) -> Tensor:
    """Supervised contrast of [B, B], anchor by anchor, each without itself.

    ``counts`` is what the loss of each anchor is multiplied by.
    """
    losses = []
    for a, row in enumerate(logits):
        rest = [b for b in range(len(row)) if b != a]
        positive = [b for b in rest if classes[b] == classes[a]]
        if positive:
            total = torch.log(sum(torch.exp(row[b]) for b in rest))
            found = sum(row[b] - total for b in positive) / len(positive)
            losses.append(-found if counts is None else -found * counts[a])
    return sum(losses) / len(losses)


def mcl(peers: Peers, s: Setting, heads: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Anchor by anchor, comparison by comparison."""
    classes, count = [int(row.argmax()) for row in s.y], len(peers.z)
    e = []
    for h, head in zip(peers.h, heads, strict=True):
        e.append(torch.stack([row / (row**2).sum().sqrt() for row in two_layers(h, head)]))
    S = {(i, j): e[i] @ e[j].T / s.config.tau for i in range(count) for j in range(count)}
    pairs = [(i, j) for i in range(count) for j in range(count) if i != j]
    alpha, gamma, T = s.config.alpha, s.config.gamma, s.temperature
    return {
        "ce": sum_ce(peers, s),
        "vcl": alpha * sum(contrast(S[i, i], classes) for i in range(count)),
        "icl": alpha * sum(contrast(S[pair], classes) for pair in pairs),
        "soft_vcl": gamma * sum(kl(s.hold(S[j, j]), S[i, i], T) for i, j in pairs),
        "soft_icl": gamma * sum(kl(s.hold(S[j, i]), S[i, j], T) for i, j in pairs),
        "kd": sum(kl(s.hold(t), z, T) for t, z in zip(s.targets, peers.z, strict=True)),
    }


KDCL_TARGETS = {"naive": naive, "minlogit": minlogit, "linear": linear, "general": general}

LOSSES = {
    "independent": independent,
    "dml": dml,
    "cl_ilr": cl_ilr,
    "one": one,
    "mbde": one,
    "okddip": okddip,
    "ffl": ffl,
    "pcl": pcl,
    "kd": kd,
    "byot": byot,
    "kdcl": kdcl,
    "dkel": dkel,
    "tf_kd": tf_kd,
    "switokd": switokd,
    "ffsd": ffsd,
    "ahbf": ahbf,
    "cs_kd": cs_kd,
    "bake": bake,
}
