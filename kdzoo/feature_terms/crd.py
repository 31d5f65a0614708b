"""CRD, contrastive representation distillation: the student finds each image in its teacher."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdzoo.divergences.base import target_class
from kdzoo.feature_terms.base import Batch, Features, FeatureTerm
from kdzoo.feature_terms.settings import CRDConfig
from kdzoo.registry import feature_terms
from kdzoo.samples.contrast import log_mean_exp, nce
from kdzoo.samples.memory import Memory
from kdzoo.samples.negatives import Negatives

NEVER_SEEN = 2**31
"""The class of a sample that did not come yet: another one than that of any that did."""


@feature_terms.register("crd")
class CRD(FeatureTerm):
    """Each finds an image's embedding in what is remembered of the other's, among other classes'.

    ``NCE(e_s, v_t) + NCE(e_t, v_s)`` with e_s and e_t linear maps of the embeddings of student and
    teacher, of length 1, and v_s, v_t what is remembered of them for each sample.
    """

    Config = CRDConfig
    paper = (
        "Tian, Krishnan, Isola. Contrastive Representation Distillation. ICLR 2020. "
        "arXiv:1910.10699"
    )
    log_z: Tensor

    def __init__(self, config: Any, student: Features, teacher: Features) -> None:
        super().__init__(config, student, teacher)
        self.project = nn.Linear(student.embedding.shape[1], config.width)
        self.project_teacher = nn.Linear(teacher.embedding.shape[1], config.width)
        self.memory = Memory(2, config.width)  # of each sample the student's and the teacher's
        self.classes = Memory()
        self.negatives = Negatives(config.negatives)
        self.register_buffer("log_z", torch.zeros(2, 1, 1))

    def begin(self, samples: int) -> None:
        """Rows are random at first, of length 1 in the mean: else log_z would be of zeros."""
        self.classes.begin(samples)
        self.memory.begin(samples)
        generator = torch.Generator().manual_seed(int(self.negatives.seed))
        uniform = torch.rand(self.memory.rows.shape, generator=generator)
        self.memory.rows.copy_((2 * uniform - 1) * math.sqrt(3 / self.config.width))

    def forward(self, student: Features, teacher: Features, batch: Batch) -> Tensor:
        index, labels = batch.need_index(), target_class(batch.y) + 1  # 0: not seen yet
        both = self.project(student.embedding), self.project_teacher(teacher.embedding)
        e = F.normalize(torch.stack(both), dim=-1)  # [2, B, width]
        remembered = self.memory.read(index)
        if self.training:
            self.classes.write(index, labels)
        classes = self.classes.rows.long()
        classes = classes.masked_fill(classes == 0, NEVER_SEEN)
        drawn, found = self.negatives.draw(index, labels, classes)
        rows = self.memory.rows.flip(1).to(e.dtype)  # the other's; a copy, as these change below
        s = e @ rows.permute(1, 2, 0) / self.config.tau  # [2, B, N]
        match = s.gather(-1, index[:, None].expand(2, -1, -1))
        rest = s.gather(-1, drawn.expand(2, -1, -1))
        first = self.negatives.step == 0
        log_z = torch.where(first, log_mean_exp(match, rest, found), self.log_z)
        if self.training:
            new = remembered.lerp(e.detach().transpose(0, 1).to(remembered.dtype), self.share)
            self.memory.write(index, F.normalize(new, dim=-1))
            self.log_z.copy_(log_z)
            self.negatives.advance()
        return nce(match, rest, found, log_z)

    @property
    def share(self) -> float:
        """Of an embedding, in what is remembered of the sample from then on."""
        return 1 - self.config.momentum
