"""What one row of the table measures."""

from dataclasses import asdict, dataclass
from typing import Any

import torch

PRECISIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "fp32": {"precision": "fp32", "training": {"compile": False}},
    "bf16": {"precision": "bf16", "training": {"compile": False}},
    "compiled": {"precision": "fp32", "training": {"compile": True}},
    "bf16-compiled": {"precision": "bf16", "training": {"compile": True}},
    "bf16-fused": {"precision": "bf16", "training": {"compile": False, "fused_kernels": True}},
}
"""The settings of a run for each; ``bf16-fused`` is for CUDA. ``default`` is a run as it comes, and
bare is then float32. A training that is long enough is compiled by default, which so few steps are
not."""


@dataclass(frozen=True)
class Setting:
    """One row.

    Attributes:
        method: by name, with its own defaults.
        backbone: by name.
        precision: one of :data:`PRECISIONS`, for kdzoo and bare.
        device: ``cpu`` or ``cuda``.
        batch_size: B.
        workers: processes of the conventional trainer's DataLoader.
        threads: CPU threads of all contestants; None leaves torch's own number.
    """

    method: str
    backbone: str
    precision: str
    device: str = "cpu"
    batch_size: int = 128
    workers: int = 2
    threads: int | None = None

    def run(self) -> dict[str, Any]:
        """The settings of kdzoo's run."""
        settings = PRECISIONS[self.precision]
        return {
            "backbone": self.backbone,
            "device": self.device,
            "batch_size": self.batch_size,
            **settings,
            "training": {**settings.get("training", {}), "threads": self.threads},
        }

    def autocast(self) -> torch.autocast:
        """Bare's number format."""
        return torch.autocast(
            self.device, torch.bfloat16, enabled=self.run().get("precision") == "bf16"
        )

    @property
    def compiled(self) -> bool:
        """Whether bare's step is compiled."""
        return bool(self.run()["training"].get("compile"))

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)
