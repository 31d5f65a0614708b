"""timm's models (PyTorch image models) as backbones: which there are, and how one is built.

timm is slow to import and not needed for kdzoo's own networks, so each function imports it itself.
"""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdzoo.errors import UserError

if TYPE_CHECKING:
    from torch import nn

ENTRYPOINT = re.compile(r"^@register_model\s+def (\w+)\(", re.MULTILINE)
"""How timm's source says that a model can be had by name."""

REACHABLE_SECONDS = 5
"""How long the hub has to answer at all before a download is tried."""


def is_timm_model(name: str) -> bool:
    """Whether timm's source has a model of that name; importing timm takes seconds.

    What other packages add to timm's registry is not there, so a False is to be asked again.
    """
    return name.partition(".")[0] in names_in_source()


@cache
def names_in_source() -> frozenset[str]:
    """The models that timm's source has, without tags of weights."""
    package = find_spec("timm")
    if package is None or package.origin is None:
        return frozenset()
    texts = (file.read_text("utf-8") for file in Path(package.origin).parent.glob("models/*.py"))
    return frozenset(name for text in texts for name in ENTRYPOINT.findall(text))


def timm_model(name: str) -> "Callable[..., nn.Module]":
    """A function that builds timm's model ``name``; a tag of pretrained weights may follow a dot.

    Raises:
        UserError: timm has no such model.
    """
    import timm

    import kdzoo.timm  # noqa: F401  # timm has our networks then, as kdzoo_NAME

    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.5)
        advice = (
            f"Did you mean {' or '.join(f'timm/{other}' for other in close)}?"
            if close
            else "timm.list_models() lists those there are."
        )
        raise UserError(f"timm has no model '{name}'. {advice}")

    def build(*, num_classes: int, in_chans: int, **kwargs: Any) -> "nn.Module":
        _refuse(kwargs)
        return _create(name, num_classes=num_classes, in_chans=in_chans, **kwargs)

    return build


def _refuse(kwargs: Mapping[str, Any]) -> None:
    """Refuse arguments of timm's that load a file unchecked, or leave a model without logits."""
    if kwargs.get("features_only"):
        raise UserError(
            "backbone.kwargs.features_only: Such a model gives no logits, and a backbone must. "
            "Leave it out; methods look at the features of the whole model."
        )
    files = {"checkpoint_path": kwargs.get("checkpoint_path")}
    for key in ("pretrained_cfg", "pretrained_cfg_overlay"):
        described = kwargs.get(key) or {}
        if isinstance(described, Mapping):
            files[f"{key}.file"] = described.get("file")
        elif key == "pretrained_cfg_overlay":
            raise UserError(f"backbone.kwargs.{key} is {described!r}, and timm takes a mapping.")
    for key, file in files.items():
        if file:
            raise UserError(
                f"backbone.kwargs.{key}: Give the file as backbone.weights=FILE, from which all "
                "peers start; a classifier of other classes is then drawn anew."
            )


def pretrained_timm_model(name: str) -> "nn.Module":
    """Timm's model ``name`` as it was trained elsewhere, classifier included.

    Raises:
        UserError: timm has no such model or no weights of it, or they cannot be downloaded.
    """
    timm_model(name)  # refuses an unknown name
    return _create(name, pretrained=True)


def _create(name: str, **kwargs: Any) -> "nn.Module":
    import timm

    try:
        with _offline_if_unreachable() if kwargs.get("pretrained") else nullcontext():
            return timm.create_model(name, **kwargs)
    except OSError as error:  # what every kind of failed download is
        raise UserError(
            f"The pretrained weights of timm/{name} are not on this machine and cannot be "
            f"downloaded ({type(error).__name__}). Do without them (as a backbone: leave "
            "backbone.kwargs.pretrained out), or start once with a connection; they stay in the "
            "Hugging Face cache."
        ) from error
    except RuntimeError as error:
        if "pretrained" not in str(error):
            raise
        raise UserError(f"timm/{name}: {str(error).splitlines()[0]}") from error


@contextmanager
def _offline_if_unreachable() -> Iterator[None]:
    """Take weights from the Hugging Face cache alone where the hub cannot be reached.

    Its client would try again and again, for a minute or more.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or is_reachable(constants.ENDPOINT):
        yield
        return
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = False


@cache  # once a process
def is_reachable(url: str) -> bool:
    """Whether anything answers there, asked as the hub's client asks, e.g. through a proxy."""
    from huggingface_hub.utils import get_session

    try:
        get_session().head(url, timeout=REACHABLE_SECONDS)
    except Exception:  # which ones depends on the client that this version of the hub is built on
        return False
    return True


def timm_input_size(name: str) -> tuple[int, int, int]:
    """(C, H, W) of the images that timm's model ``name`` is made for."""
    from timm.models import get_pretrained_cfg

    config = get_pretrained_cfg(name.partition(".")[0])
    return config.input_size if config else (3, 32, 32)
