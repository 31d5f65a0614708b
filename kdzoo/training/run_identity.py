"""What makes a run the run it is: its settings, its data, its networks and other people's code."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from pydantic import TypeAdapter

from kdzoo import registry
from kdzoo.backbones.create import BackboneLike
from kdzoo.backbones.fingerprint import BackboneFingerprint, backbone_fingerprint
from kdzoo.config import RunConfig
from kdzoo.data.dataset import Dataset, DatasetConfig
from kdzoo.data.fingerprint import DataFingerprint, data_fingerprint
from kdzoo.data.splits import Splits
from kdzoo.fingerprint import fingerprint, is_known

CONTENT = "content"
"""The key of what is in a file, in the settings of an identity, in place of the file's path."""

USUAL_SIZE = (3, 32, 32)
"""(C, H, W) that networks are built for; their weights do not depend on H and W."""


@dataclass(frozen=True)
class RunIdentity:
    """Two runs of one identity are the same run, wherever and however they are computed.

    Attributes:
        settings: of :meth:`RunConfig.identity`, with what is in the method's files in their place.
        data: the fingerprint of the data.
        networks: those of the backbones.
        code: fingerprints of the method and its parts, by name, where they are not kdzoo's.
    """

    settings: dict[str, Any]
    data: DataFingerprint
    networks: tuple[BackboneFingerprint, ...]
    code: dict[str, str]

    def digest(self) -> str:
        """Eight hexadecimal digits that stand for all but the seed."""
        settings = {key: value for key, value in self.settings.items() if key != "seed"}
        text = json.dumps(asdict(replace(self, settings=settings)), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def text(self) -> str:
        """All of it, the seed as well, as one text that two runs share if they are the same."""
        return json.dumps(self.to_json(), sort_keys=True)

    def to_json(self) -> dict[str, Any]:
        """The identity as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> "RunIdentity":
        """The identity that :meth:`to_json` gave.

        Raises:
            ValueError: ``value`` is something else.
        """
        return TypeAdapter(cls).validate_python(value)

    def differences(self, other: "RunIdentity") -> dict[str, str]:
        """What differs, by name, and how it is in ``other``, in words."""
        found = {name: str(value) for name, value in _settings(self.settings, other.settings)}
        data = self.data.difference(other.data)
        if data is not None:
            found["data"] = data
        network = self._network_difference(other)
        if network is not None:
            found["network"] = network
        parts = self.code.keys() | other.code.keys()
        changed = sorted(part for part in parts if self.code.get(part) != other.code.get(part))
        if changed:
            found["code"] = f"another version of {', '.join(changed)}"
        return found

    def _network_difference(self, other: "RunIdentity") -> str | None:
        """As the settings and the data leave them, so that one difference is not said twice."""
        if self.settings.get("backbone") != other.settings.get("backbone"):
            return None
        if self.data.classes != other.data.classes:
            return None
        pairs = zip(self.networks, other.networks, strict=False)
        return next(filter(None, (ours.difference(theirs) for ours, theirs in pairs)), None)


def identify(
    config: RunConfig, splits: Splits, networks: Sequence[BackboneLike] = ()
) -> RunIdentity:
    """The identity of a run on data that are loaded.

    Args:
        config: the run.
        splits: its data, as they were loaded.
        networks: a person's own, in place of the backbones that the config names.

    Raises:
        UserError: a backbone cannot be built, or a file that the method needs is not there.
    """
    given = networks or config.backbones
    classes = len(splits.classes)
    data = data_fingerprint(splits)
    return RunIdentity(
        settings_identity(config),
        data,
        tuple(backbone_fingerprint(one, classes, USUAL_SIZE) for one in given),
        part_fingerprints(config),
    )


class Identities:
    """The identities of many runs: each data set is loaded, and each network built, once."""

    def __init__(self) -> None:
        self._data: dict[str, DataFingerprint] = {}
        self._networks: dict[tuple[str, int], BackboneFingerprint] = {}

    def identify(self, config: RunConfig) -> RunIdentity:
        """The identity of a run, as :func:`identify` finds it.

        Raises:
            UserError: as :func:`identify`, or the data are not there.
        """
        data = self._data_of(config.dataset)
        networks = []
        for backbone in config.backbones:
            key = (backbone.model_dump_json(), data.classes)
            if key not in self._networks:
                self._networks[key] = backbone_fingerprint(backbone, data.classes, USUAL_SIZE)
            networks.append(self._networks[key])
        return RunIdentity(
            settings_identity(config), data, tuple(networks), part_fingerprints(config)
        )

    def at_hand(self, config: RunConfig) -> RunIdentity:
        """The identity of a run whose data are here: nothing is downloaded for it.

        Raises:
            UserError: as :meth:`identify`.
        """
        data = config.dataset.without_download()
        found = self.identify(config.model_copy(update={"dataset": data}))
        return replace(found, settings=settings_identity(config))

    def _data_of(self, config: DatasetConfig) -> DataFingerprint:
        key = config.model_dump_json()
        if key not in self._data:
            dataset: Dataset = registry.datasets.get(config.name)(config)
            self._data[key] = data_fingerprint(dataset.load())
        return self._data[key]


def settings_identity(config: RunConfig) -> dict[str, Any]:
    """The settings that decide the result; of files that the method reads, what is in them.

    Raises:
        UserError: such a file is not there.
    """
    settings = config.identity()
    contents = registry.methods.get(config.method.name).contents(config.method)
    held = {field: {CONTENT: content} for field, content in contents.items()}
    return {**settings, "method": {**settings["method"], **held}}


def without_places(settings: Mapping[str, Any], identity: RunIdentity) -> dict[str, Any]:
    """A config's settings as an identity has them, where that has contents in place of paths."""
    method, ours = settings.get("method"), identity.settings["method"]
    if not isinstance(method, Mapping):
        return dict(settings)
    held = {
        field: value
        for field, value in ours.items()
        if field in method and isinstance(value, Mapping) and value.keys() == {CONTENT}
    }
    return {**settings, "method": {**method, **held}}


def part_fingerprints(config: RunConfig) -> dict[str, str]:
    """The code of the method and of the parts it is composed of, where it is not kdzoo's."""
    method = config.method
    parts: dict[str, Any] = {f"method {method.name}": registry.methods.get(method.name)}
    aggregator = getattr(method, "aggregator", None)
    if aggregator is not None:
        parts[f"aggregator {aggregator.name}"] = registry.aggregators.get(aggregator.name)
    for one in getattr(method, "regularizers", ()):
        parts[f"regularizer {one.name}"] = registry.regularizers.get(one.name)
    for one in getattr(method, "feature_terms", ()):
        parts[f"feature term {one.name}"] = registry.feature_terms.get(one.name)
    divergence = getattr(method, "divergence", None)
    if divergence is not None:
        parts[f"divergence {divergence.name}"] = registry.divergences.get(divergence.name)
    return {name: fingerprint(part) for name, part in parts.items() if not is_known(part)}


def _settings(ours: Any, theirs: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The names of settings that differ, and their values; a part of another name is one."""
    if ours == theirs:
        return
    both = isinstance(ours, Mapping) and isinstance(theirs, Mapping)
    if not both:
        yield name, theirs
    elif ours.get("name") != theirs.get("name"):
        yield name, theirs.get("name")
    else:
        for key in sorted(ours.keys() | theirs.keys()):
            below = f"{name}.{key}" if name else key
            yield from _settings(ours.get(key), theirs.get(key), below)
