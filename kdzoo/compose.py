"""From defaults, recipes (YAML) and overrides ``a.b=value`` to one config, merged key by key."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from os.path import exists
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kdzoo import registry
from kdzoo.component import ComponentConfig, validate
from kdzoo.config import RunConfig
from kdzoo.errors import ConfigError, UnreadableError, UserError, cause, nearest, quoted
from kdzoo.files import is_file
from kdzoo.scalars import Scalar, typed
from kdzoo.yaml_text import dump_yaml, load_yaml


def compose(
    arguments: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    config_class: type[RunConfig] = RunConfig,
) -> RunConfig:
    """A run's config: defaults < the data set's own recipe < recipes < overrides < ``settings``.

    Args:
        arguments: recipes (a file or the name of a bundled one) and overrides ``a.b=value``.
        settings: further values. Their keys, like those of recipes, are nested or dotted.
        config_class: of the config, where it has more fields than a run's.

    Raises:
        UserError: a recipe cannot be read, or a name, key or value is wrong.
    """
    recipes = [argument for argument in arguments if _is_recipe(argument)]
    overrides = [argument for argument in arguments if not _is_recipe(argument)]
    sources = [
        *(nested(read_yaml(find_recipe(recipe))) for recipe in recipes),
        *map(parse_override, overrides),
        nested(settings or {}),
    ]
    chosen = merge_all(sources)
    return validate(config_class, _merge(_dataset_recipe(chosen), chosen))


def to_yaml(config: RunConfig, unicode: bool = True) -> str:
    """The whole config as a recipe.

    Args:
        config: any.
        unicode: write printable characters beyond ASCII as themselves.
    """
    return dump_yaml(_escaped(config.model_dump(mode="json")), unicode)


def recipe_names() -> list[str]:
    """The recipes that come with kdzoo."""
    return sorted(path.stem for path in _recipe_folder().glob("*.yaml"))


def find_recipe(recipe: str) -> Path:
    """The recipe's file: the path itself, or the bundled recipe of that name.

    Raises:
        UserError: there is no such recipe.
    """
    bundled = _recipe_folder() / f"{recipe}.yaml"
    for path in (Path(recipe), bundled):
        if is_file(path):
            return path
    if exists(recipe):
        raise UserError(f"{quoted(recipe)} is no recipe: a recipe is a file with YAML in it.")
    for kind in ("method", "backbone", "dataset"):
        if recipe in registry.ALL[f"{kind}s"].names():
            raise UserError(f"'{recipe}' is a {kind}. Write {kind}={recipe}.")
    raise UserError(
        f"There is no recipe {quoted(recipe)}: neither a file nor a bundled recipe is called so, "
        f"and an override would read KEY=VALUE. {nearest(recipe, recipe_names())}"
    )


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a recipe or spec of the user's own, with interpolations resolved.

    What stands there without quotes is a :class:`~kdzoo.scalars.Scalar`, which the field that takes
    it gives a type.

    Raises:
        UserError: the file cannot be read, or holds no mapping.
    """
    content = _read_mapping(path)
    try:
        return _interpolated(content)
    except (OmegaConfBaseException, ValueError, TypeError, RecursionError) as error:
        reason = str(error).split("\n")[0]
        raise UserError(f"{path} cannot be read: {reason}") from None


def read_stored(path: Path) -> dict[str, Any]:
    """The mapping in a file that kdzoo has written, whoever's it is: ``${...}`` stays as it is.

    Raises:
        UserError: the file cannot be read, or holds no mapping.
    """
    return typed(_each_text(_read_mapping(path, _parsed), _unescape))


@lru_cache(maxsize=16)
def _parsed(text: str) -> Any:
    """What YAML says, kept since a report looks into each file several times; nobody changes it."""
    return load_yaml(text)


def _read_mapping(path: Path, parse: Callable[[str], Any] = load_yaml) -> dict[str, Any]:
    if not is_file(path):
        raise UserError(f"{path} is no file.")
    try:
        content = parse(path.read_text(encoding="utf-8-sig"))
    except PermissionError as error:
        raise UnreadableError(path, error) from None
    except (UserError, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as YAML: {cause(error)}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        kind = "a list" if isinstance(content, list) else "one value"
        raise UserError(f"{path} is {kind}; it should be a mapping such as 'epochs: 30'.")
    return content


def _interpolated(content: dict[str, Any]) -> dict[str, Any]:
    """The content with each text that has ``${...}`` in it resolved, all else left untyped."""
    if not _interpolates(content):
        return content
    resolved = OmegaConf.to_container(OmegaConf.create(typed(content)), resolve=True)
    return _substitute(content, resolved)


def _interpolates(value: Any) -> bool:
    """Whether there is an interpolation anywhere in a value."""
    if isinstance(value, dict):
        return any(map(_interpolates, value.values()))
    if isinstance(value, list):
        return any(map(_interpolates, value))
    return isinstance(value, str) and "${" in value


def _substitute(value: Any, resolved: Any) -> Any:
    if isinstance(value, dict):
        return {key: _substitute(entry, resolved[key]) for key, entry in value.items()}
    if isinstance(value, list):
        return [_substitute(*pair) for pair in zip(value, resolved, strict=True)]
    if not isinstance(value, str) or "${" not in value:
        return value
    if resolved is None or isinstance(resolved, dict | list):
        return resolved
    # text in quotes stays text, unless it stands for another setting
    return type(value)(resolved) if isinstance(resolved, str) else Scalar(resolved)


_INTERPOLATION = re.compile(r"(\\*)\$\{")


def _escaped(value: Any) -> Any:
    """A value whose ``${`` a recipe's reader takes for text."""
    return _each_text(value, lambda text: _INTERPOLATION.sub(r"\1\1\\${", text))


def _unescape(text: str) -> str:
    """The reverse."""
    return _INTERPOLATION.sub(lambda match: match[1][: len(match[1]) // 2] + "${", text)


def _each_text(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {key: _each_text(entry, change) for key, entry in value.items()}
    if isinstance(value, list):
        return [_each_text(entry, change) for entry in value]
    return type(value)(change(value)) if isinstance(value, str) else value


def _is_recipe(argument: str) -> bool:
    return "=" not in argument or is_file(argument)  # folders may have a = in their names


def _recipe_folder() -> Path:
    """Inside an installed package; beside it in a clone."""
    packaged = Path(str(files("kdzoo"))) / "recipes"
    return packaged if packaged.is_dir() else packaged.parents[1] / "recipes"


def parse_override(override: str) -> dict[str, Any]:
    """``a.b=value`` as a nested mapping; the value is a :class:`~kdzoo.scalars.Scalar`, as typed.

    Spaces around the ``=`` are no part of either.

    Raises:
        UserError: it is no override.
    """
    key, equals, text = override.partition("=")
    if key != key.rstrip():
        text = text.strip()
    keys = key.strip().split(".")
    if not equals or not all(keys):
        raise UserError(f"{quoted(override)} is no override; write KEY=VALUE, e.g. method=mbde.")
    value: Any = Scalar(text)
    for name in reversed(keys):
        value = {name: value}
    return value


def _dataset_recipe(settings: Mapping[str, Any]) -> dict[str, Any]:
    dataset = settings.get("dataset", "digits")
    if isinstance(dataset, ComponentConfig):
        return {}  # a person's own data set, which no name stands for
    name = dataset.get("name", "digits") if isinstance(dataset, Mapping) else dataset
    try:
        return dict(registry.datasets.get(str(name)).recipe)
    except UserError as error:
        raise ConfigError(str(error), ("dataset", "name")) from None


def merge_all(sources: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Nested mappings merged key by key, later ones on top."""
    merged: dict[str, Any] = {}
    for source in sources:
        merged = _merge(merged, source)
    return merged


def nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings whose keys may be dotted, ``{"a.b": 1}``, as nested mappings.

    Raises:
        ConfigError: a setting is there twice, dotted and nested, and neither is the later one.
    """
    for path, times in Counter(_paths(settings)).items():
        if times > 1:
            raise ConfigError("It is set twice, dotted and nested. Leave one out.", path)

    def branch(key: str, value: Any) -> dict[str, Any]:
        first, dot, rest = key.partition(".")
        if dot:
            return {first: branch(rest, value)}
        return {first: nested(value) if isinstance(value, Mapping) else value}

    return merge_all(branch(str(key), value) for key, value in settings.items())


def _paths(settings: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """The keys that lead to each value."""
    for key, value in settings.items():
        here = tuple(str(key).split("."))
        if isinstance(value, Mapping) and value:
            yield from ((*here, *below) for below in _paths(value))
        else:
            yield here


def _merge(below: Any, above: Any) -> Any:
    """``above`` wins, key by key; a bare name stands for a mapping with that ``name``."""
    below, above = _opened(below), _opened(above)
    if isinstance(below, Mapping) and isinstance(above, str):
        above = {"name": above}
    if isinstance(below, str) and isinstance(above, Mapping):
        below = {"name": below}
    if not isinstance(below, Mapping) or not isinstance(above, Mapping):
        return above
    common = {key: _merge(below[key], above[key]) for key in below.keys() & above.keys()}
    return {**below, **above, **common}


def _opened(value: Any) -> Any:
    """A typed ``{...}`` is a mapping where it meets another."""
    if isinstance(value, Scalar) and value.lstrip().startswith("{"):
        try:
            return load_yaml(value)
        except UserError:
            return value  # which its field will say
    return value
