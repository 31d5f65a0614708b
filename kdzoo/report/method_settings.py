"""What a method was told besides its defaults, in words, whatever its row is called."""

from collections.abc import Mapping
from typing import Any

from kdzoo import registry
from kdzoo.component import Config, validate
from kdzoo.errors import UserError
from kdzoo.report.labels import short


def method_in_words(settings: Mapping[str, Any]) -> str | None:
    """The name of a method, with its settings that are not at their defaults in parentheses.

    As the row of a spec is labelled that names them in their order, such as ``kd (alpha=0,
    feature_terms=[crd])``.

    Args:
        settings: the method's, as a run's config has them.

    Returns:
        None where these settings are not of a method that is known here.
    """
    try:
        chosen = validate(registry.methods.get_config(str(settings.get("name"))), settings)
    except UserError:
        return None
    own = _beside_defaults(chosen)
    changes = ", ".join(f"{key}={value}" for key, value in own.items())
    return f"{chosen.name} ({changes})" if changes else chosen.name


def _beside_defaults(chosen: Any) -> dict[str, str]:
    fresh = type(chosen).model_validate({"name": chosen.name})
    return {
        key: _in_words(value)
        for key, value in chosen
        if key != "name" and value != getattr(fresh, key)
    }


def _in_words(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_in_words, value)) + "]"
    if isinstance(value, Config) and (name := getattr(value, "name", None)):
        own = _beside_defaults(value)
        settings = "".join(f", {key}: {text}" for key, text in own.items())
        return f"{{name: {name}{settings}}}" if settings else str(name)
    if isinstance(value, float):
        return f"{value:g}"
    return short(value)
