"""From defaults, recipes (YAML) and overrides ``a.b=value`` to one config, merged key by key."""

from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from os.path import isfile
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from kdzoo import registry
from kdzoo.component import ComponentConfig, validate
from kdzoo.config import RunConfig
from kdzoo.errors import ConfigError, UserError, nearest


def compose(arguments: Sequence[str] = (), settings: Mapping[str, Any] | None = None) -> RunConfig:
    """A run's config: defaults < the data set's own recipe < recipes < overrides < ``settings``.

    Args:
        arguments: recipes (a file or the name of a bundled one) and overrides ``a.b=value``.
        settings: further values, as nested mappings.

    Raises:
        UserError: a recipe cannot be read, or a name, key or value is wrong.
    """
    recipes = [argument for argument in arguments if _is_recipe(argument)]
    overrides = [argument for argument in arguments if not _is_recipe(argument)]
    sources = [
        *(read_yaml(find_recipe(recipe)) for recipe in recipes),
        *map(parse_override, overrides),
        settings or {},
    ]
    chosen = merge_all(sources)
    return validate(RunConfig, _merge(_dataset_recipe(chosen), chosen))


def to_yaml(config: RunConfig) -> str:
    """The whole config as a recipe."""
    return OmegaConf.to_yaml(OmegaConf.create(config.model_dump(mode="json")))


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
        if isfile(path):  # unlike Path.is_file, it takes a name of any length
            return path
    raise UserError(
        f"There is no recipe '{recipe}': neither a file nor a bundled recipe is called so, and "
        f"an override would read KEY=VALUE. {nearest(recipe, recipe_names())}"
    )


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file's mapping, safely loaded, with interpolations resolved.

    Raises:
        UserError: the file cannot be read, or holds no mapping.
    """
    try:
        content = OmegaConf.load(path)
        if not isinstance(content, DictConfig):
            raise UserError(f"{path} is a list; it should be a mapping such as 'epochs: 30'.")
        return OmegaConf.to_container(content, resolve=True)  # type: ignore[return-value]  # a DictConfig gives a dict
    except (YAMLError, OmegaConfBaseException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as YAML: {error}") from None


def _is_recipe(argument: str) -> bool:
    return "=" not in argument or isfile(argument)  # folders may have a = in their names


def _recipe_folder() -> Path:
    """Inside an installed package; beside it in a clone."""
    packaged = Path(str(files("kdzoo"))) / "recipes"
    return packaged if packaged.is_dir() else packaged.parents[1] / "recipes"


def parse_override(override: str) -> dict[str, Any]:
    """``a.b=value`` as a nested mapping.

    Raises:
        UserError: it is no override, or its value is no YAML.
    """
    key = override.split("=", 1)[0]
    try:
        parsed = OmegaConf.to_container(OmegaConf.from_dotlist([override]), resolve=True)
    except (YAMLError, OmegaConfBaseException) as error:
        raise ConfigError(f"The value cannot be read: {error}", (key,)) from None
    if not key or not isinstance(parsed, dict):
        raise UserError(f"'{override}' is no override; write KEY=VALUE, e.g. method=mbde.")
    return parsed  # type: ignore[return-value]  # its keys are strings


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


def _merge(below: Any, above: Any) -> Any:
    """``above`` wins, key by key; a bare name stands for a mapping with that ``name``."""
    if isinstance(below, Mapping) and isinstance(above, str):
        above = {"name": above}
    if isinstance(below, str) and isinstance(above, Mapping):
        below = {"name": below}
    if not isinstance(below, Mapping) or not isinstance(above, Mapping):
        return above
    common = {key: _merge(below[key], above[key]) for key in below.keys() & above.keys()}
    return {**below, **above, **common}
