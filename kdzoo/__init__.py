"""Online knowledge distillation: train peers that teach each other, deploy one of them.

What is imported from here is the public API; each name is loaded when it is first used, so that
``import kdzoo`` and ``kdzoo --help`` do not wait for torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdzoo.api import create_method, list_backbones, list_datasets, list_methods, run
    from kdzoo.backbones.create import create_backbone
    from kdzoo.data.torch_datasets import data_from
    from kdzoo.errors import UserError
    from kdzoo.student import load_student

_HOMES = {
    "UserError": "kdzoo.errors",
    "create_backbone": "kdzoo.backbones.create",
    "create_method": "kdzoo.api",
    "data_from": "kdzoo.data.torch_datasets",
    "list_backbones": "kdzoo.api",
    "list_datasets": "kdzoo.api",
    "list_methods": "kdzoo.api",
    "load_student": "kdzoo.student",
    "run": "kdzoo.api",
}

__all__ = [
    "UserError",
    "create_backbone",
    "create_method",
    "data_from",
    "list_backbones",
    "list_datasets",
    "list_methods",
    "load_student",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'kdzoo' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)
