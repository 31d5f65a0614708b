"""Samples in tar shards, as the WebDataset library writes them: ``KEY.jpg`` beside ``KEY.cls``."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import Field

from kdzoo.data.dataset import Dataset, DatasetConfig
from kdzoo.data.image_files import has_extension
from kdzoo.data.index import indexed
from kdzoo.data.paths import Paths
from kdzoo.data.shards import ShardImages
from kdzoo.data.splits import Split, Splits
from kdzoo.data.stamps import stamps_of
from kdzoo.data.tar import Member, members_of
from kdzoo.datasets.classes import Label, as_label, find_class_names, with_classes
from kdzoo.datasets.parts import as_splits
from kdzoo.datasets.shard_files import find_shards
from kdzoo.errors import UserError
from kdzoo.home import expand_user
from kdzoo.identity import NotIdentity
from kdzoo.registry import datasets

SAMPLE = re.compile(r"((?:.*/)?[^/.]+)\.([^/]+)")
"""A member's name: the key of its sample, and which part of that it is."""

LABEL_FIELDS = ("label", "cls", "class", "class_id", "target")
"""Of a sample's JSON, the fields in which its label is looked for."""

LONGEST_LABEL = 2**20
"""Bytes of a member that is read for the label in it."""

JSON = "json"


@datasets.register("webdataset")
class WebDataset(Dataset):
    """Tar shards, as WebDataset writes them: ``train-0000.tar`` with ``KEY.jpg`` and ``KEY.cls``.

    Shards are told apart by ``train``, ``val`` and ``test`` in their names, or in those of their
    folders. Images are read from where they stand in the shards, in any order, by an index that is
    made once. Other members, such as pickled ones, are not looked at.
    """

    class Config(DatasetConfig):
        """Where the shards are, and which members are image and label."""

        root: Annotated[Path, NotIdentity]
        """The folder that holds the shards, or the only one."""
        image: str | None = None
        """The member that is the image, such as ``jpg``; by default the only one that can be."""
        label: str | None = None
        """The member that is the label, such as ``cls``; ``json.NAME`` is a field of the JSON."""
        test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
        """The part of each class that is the test split where no shard is to test on."""

    config: Config

    def load(self) -> Splits:
        root = expand_user(self.config.root)
        settings = self.config.model_dump(include={"name", "image", "label", "test_fraction"})
        return indexed(self.config.cache_folder, root, settings, lambda: self._find(root))

    def _find(self, root: Path) -> Splits:
        left_out = _LeftOut()
        shards = find_shards(root, ".tar")
        found = {
            split: [(path, list(self._samples(path, left_out))) for path in paths]
            for split, paths in shards.items()
        }
        raw = {
            split: [sample.label for _, samples in of_split for sample in samples]
            for split, of_split in found.items()
        }
        if empty := [split for split, labels in raw.items() if not labels]:
            raise UserError(f"The {empty[0]} shards in {root} hold no samples with an image.")
        named = find_class_names(root) if root.is_dir() else None
        labels, classes = with_classes(raw, None if named is None else named[1], str(root))
        parts = {split: Split(_images(found[split]), labels[split]) for split in found}
        said = () if named is None else (f"the names of the classes are those in {named[0]}",)
        return as_splits(
            parts,
            classes,
            where=str(root),
            test_fraction=self.config.test_fraction,
            purpose=self.config.name,
            notes=(*said, *left_out.notes(root)),
        )

    def _samples(self, shard: str, left_out: "_LeftOut") -> Iterator["_Sample"]:
        """The samples of a shard that have an image, in its order.

        Raises:
            UserError: the shard is no whole tar file, or a sample does not have one image and one
                label.
        """
        samples, others = _grouped(shard)
        left_out.others += [f"{shard}/{name}" for name in others]
        with open(shard, "rb") as file:
            for key, parts in samples.items():
                image = self._image(f"{key} in {shard}", parts)
                if image is None:
                    left_out.no_image.append(f"{shard}/{key}")
                    continue
                part, fields = self._label_member(f"{key} in {shard}", parts)
                member = parts[part]
                file.seek(member.offset)
                content = file.read(min(member.size, LONGEST_LABEL))
                yield _Sample(image, _read_label(f"{member.name} in {shard}", content, fields))

    def _image(self, sample: str, parts: Mapping[str, Member]) -> Member | None:
        if self.config.image is not None:
            return parts.get(self.config.image)
        found = [part for part in parts if has_extension(f"{sample}.{part}")]
        if len(found) > 1:
            found = [part for part in found if "." not in part] or found
        if len(found) > 1:
            raise UserError(
                f"The sample {sample} has several images: {', '.join(found)}. Say which is to be "
                f"classified: dataset.image={found[0]}"
            )
        return parts[found[0]] if found else None

    def _label_member(
        self, sample: str, parts: Mapping[str, Member]
    ) -> tuple[str, tuple[str, ...]]:
        """The part with the label, and the fields of JSON of which the first there is has it."""
        asked = self.config.label or ("cls" if "cls" in parts else JSON)
        part, dot, name = asked.partition(".")
        if asked in parts or part != JSON or not dot:
            part, name = asked, ""
        fields = ((name,) if name else LABEL_FIELDS) if part == JSON else ()
        if part not in parts:
            raise UserError(
                f"The sample {sample} has no label: its members are {', '.join(parts)}. Say which "
                "it is, such as dataset.label=cls, or dataset.label=json.NAME for a field; or take "
                "the sample away."
            )
        return part, fields


class _Sample(NamedTuple):
    image: Member
    label: Label


@dataclass
class _LeftOut:
    """What in the shards is part of no sample."""

    no_image: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def notes(self, root: Path) -> Iterator[str]:
        for what, found in (
            ("samples without an image", self.no_image),
            ("members that are part of no sample", self.others),
        ):
            if found:
                yield f"left out of {root}: {len(found)} {what}, such as {found[0]}"


def _grouped(shard: str) -> tuple[dict[str, dict[str, Member]], list[str]]:
    """The members of each sample, by its key and what they are, and the names of all others."""
    members, others = members_of(shard)
    samples: dict[str, dict[str, Member]] = defaultdict(dict)
    for member in members:
        match = SAMPLE.fullmatch(member.name)
        if match is None:
            others.append(member.name)
            continue
        key, part = match[1], match[2].lower()
        if part in samples[key]:
            raise UserError(
                f"{shard} holds {member.name} twice, so that it cannot be told which belongs to "
                "which sample. Give each sample a key of its own."
            )
        samples[key][part] = member
    return samples, others


def _read_label(member: str, content: bytes, fields: Sequence[str]) -> Label:
    """The label in a member, or in the first of these fields of its JSON.

    Raises:
        UserError: there is none.
    """
    try:
        if not fields:
            return as_label(content.decode())
        found = json.loads(content)
        return as_label(next(found[name] for name in fields if name in found))
    except StopIteration:
        reason = f"it has no field {', '.join(fields)}"
    except (ValueError, TypeError, RecursionError) as error:
        reason = str(error)
    raise UserError(
        f"There is no label in {member}: {reason}. Say where it is, such as dataset.label=cls, or "
        "dataset.label=json.NAME for a field."
    )


def _images(found: list[tuple[str, list[_Sample]]]) -> ShardImages:
    shards = Paths.of(path for path, _ in found)
    places = [
        (number, sample.image.offset, sample.image.size)
        for number, (_, samples) in enumerate(found)
        for sample in samples
    ]
    members = Paths.of(sample.image.name for _, samples in found for sample in samples)
    return ShardImages(
        shards, stamps_of(shards), np.array(places, np.int64).reshape(-1, 3), members
    )
