"""The samples of a tar shard: members of one key, of which one is the image and one the label."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

from kdzoo.data.image_files import has_extension
from kdzoo.data.tar import Member, members_of
from kdzoo.datasets.classes import Label, as_label
from kdzoo.errors import UserError

NAME = re.compile(r"((?:.*/)?[^/.]+)\.([^/]+)")
"""A member's name: the key of its sample, and which part of that it is."""

LABEL_FIELDS = ("label", "cls", "class", "class_id", "target")
"""Of a sample's JSON, the fields in which its label is looked for."""

LONGEST_LABEL = 2**20
"""Bytes of a member that are read for the label in it."""

JSON = "json"


class Sample(NamedTuple):
    """Where an image is in its shard, and its label."""

    image: Member
    label: Label


@dataclass(frozen=True)
class Shard:
    """What is in a tar file.

    Attributes:
        path: of the file.
        samples: in the order of their first members.
        no_image: the keys of the samples that have none.
        others: the names of the members that are part of no sample.
    """

    path: str
    samples: list[Sample]
    no_image: list[str]
    others: list[str]


@dataclass(frozen=True)
class SampleReader:
    """Reads shards, whose samples have these parts.

    Attributes:
        image: the part that is the image, such as ``jpg``; None for the only one that can be.
        label: the part that is the label, such as ``cls``; ``json.NAME`` is a field of the JSON;
            None for ``cls``, or for one of the :data:`LABEL_FIELDS`.
    """

    image: str | None
    label: str | None

    def read_all(self, paths: Sequence[str], workers: int) -> Iterator[Shard]:
        """As :meth:`read`, of each shard in turn; so many processes read ahead."""
        if min(workers, len(paths)) < 2:
            yield from map(self.read, paths)
            return
        with ProcessPoolExecutor(min(workers, len(paths))) as pool:
            yield from pool.map(self.read, paths)

    def read(self, path: str) -> Shard:
        """What is in a shard.

        Raises:
            UserError: it is no whole tar file, or a sample does not have one image and one label.
        """
        parts_of, others = _grouped(path)
        shard = Shard(path, [], [], others)
        with open(path, "rb") as file:
            for key, parts in parts_of.items():
                image = self._image(f"{key} in {path}", parts)
                if image is None:
                    shard.no_image.append(key)
                    continue
                part, fields = self._label(f"{key} in {path}", parts)
                member = parts[part]
                file.seek(member.offset)
                content = file.read(min(member.size, LONGEST_LABEL))
                label = _read_label(f"{member.name} in {path}", content, fields)
                shard.samples.append(Sample(image, label))
        return shard

    def _image(self, sample: str, parts: Mapping[str, Member]) -> Member | None:
        if self.image is not None:
            return parts.get(self.image)
        found = [part for part in parts if has_extension(f"x.{part}")]
        if len(found) > 1:
            found = [part for part in found if "." not in part] or found
        if len(found) > 1:
            raise UserError(
                f"The sample {sample} has several images: {', '.join(found)}. Say which is to be "
                f"classified: dataset.image={found[0]}"
            )
        return parts[found[0]] if found else None

    def _label(self, sample: str, parts: Mapping[str, Member]) -> tuple[str, Sequence[str]]:
        """The part with the label, and the fields of JSON of which the first there is has it."""
        asked = self.label or ("cls" if "cls" in parts else JSON)
        part, dot, name = asked.partition(".")
        if asked in parts or part != JSON or not dot:
            part, name = asked, ""
        if part not in parts:
            raise UserError(
                f"The sample {sample} has no label: its members are {', '.join(parts)}. Say which "
                "it is, such as dataset.label=cls, or dataset.label=json.NAME for a field; or take "
                "the sample away."
            )
        if part != JSON:
            return part, ()
        return part, (name,) if name else LABEL_FIELDS


def _grouped(path: str) -> tuple[dict[str, dict[str, Member]], list[str]]:
    """The members of each sample, by its key and what they are, and the names of all others."""
    members, others = members_of(path)
    samples: dict[str, dict[str, Member]] = defaultdict(dict)
    for member in members:
        match = NAME.fullmatch(member.name)
        if match is None:
            others.append(member.name)
            continue
        key, part = match[1], match[2].lower()
        if part in samples[key]:
            raise UserError(
                f"{path} holds {member.name} twice, so that it cannot be told which belongs to "
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
