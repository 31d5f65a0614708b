"""A run's folder: what is in it, and who may write there."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kdzoo.compose import read_stored, to_yaml
from kdzoo.config import RunConfig
from kdzoo.errors import UserError
from kdzoo.files import read_json, try_lock, write_json, write_text
from kdzoo.identity import identity_of
from kdzoo.student import DESCRIPTION, WEIGHTS


class RunFolder:
    """The files of one run.

    ``config.yaml`` (a recipe that repeats the run), ``environment.json``, ``metrics.jsonl`` (a line
    an epoch), ``checkpoint.pt``, ``student.safetensors`` with ``student.json``, and, when the run
    is finished, ``result.json``. A bench leaves two more: ``log.txt``, what the run printed in
    all its attempts, and ``failure.json``, which is there while the last attempt has failed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.environment = path / "environment.json"
        self.metrics = path / "metrics.jsonl"
        self.checkpoint = path / "checkpoint.pt"
        self.result = path / "result.json"
        self.log = path / "log.txt"
        self.failure = path / "failure.json"

    @classmethod
    def of(cls, config: RunConfig) -> "RunFolder":
        """Where a config's run belongs: ``OUT/dataset/backbone/method/seedN-<hash>``."""
        parts = (config.dataset.name, config.backbone_name, config.method.name)
        place = Path(config.out).expanduser().joinpath(*map(_file_name, parts))
        return cls(place / f"seed{config.seed}-{config.digest()}")

    @property
    def is_finished(self) -> bool:
        return self.result.is_file()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder; the operating system lets go of it when the process ends.

        Raises:
            UserError: another process holds it, or it cannot be written.
        """
        lock = try_lock(self.path / ".lock")
        if lock is None:
            raise UserError(
                f"Another process is writing to {self.path}. Wait for it, or choose another seed= "
                "or out=."
            )
        try:
            yield
        finally:
            lock.release()

    def check(self, config: RunConfig) -> None:
        """Make sure that what is in the folder belongs to ``config``.

        Raises:
            UserError: the folder belongs to a run with another config.
        """
        if not self.config.is_file():
            return
        theirs, ours = identity_of(read_stored(self.config), RunConfig), config.identity()
        keys = ours.keys() | theirs.keys()
        different = sorted(key for key in keys if ours.get(key) != theirs.get(key))
        if different:
            raise UserError(
                f"{self.path} holds a run with another config: {', '.join(different)} differ from "
                f"{self.config}. Choose another out=DIR, or resume=never to replace it."
            )

    def claim(self, config: RunConfig) -> None:
        """Make the folder that of ``config``: its own so far, or emptied under resume=never.

        Raises:
            UserError: the folder belongs to a run with another config.
        """
        if config.resume == "never":
            self.clear()
        else:
            self.check(config)
        write_text(self.config, to_yaml(config))

    def clear(self) -> None:
        """Remove what an earlier run left, its result first so that it no longer counts."""
        leftovers = (
            self.result,
            self.checkpoint,
            self.metrics,
            self.path / WEIGHTS,
            self.path / DESCRIPTION,
        )
        for file in leftovers:
            file.unlink(missing_ok=True)

    def read_result(self) -> dict[str, Any]:
        """The finished run's result."""
        return read_json(self.result)

    def write_result(self, result: dict[str, Any]) -> None:
        """Mark the run as finished."""
        write_json(self.result, result)

    def read_metrics(self, epochs: int) -> list[dict[str, Any]]:
        """The records of the first ``epochs`` epochs.

        Raises:
            UserError: the file is damaged.
        """
        if epochs == 0:
            return []
        try:
            lines = self.metrics.read_text(encoding="utf-8").splitlines()
            return [json.loads(line) for line in lines[:epochs]]
        except (OSError, ValueError) as error:
            raise UserError(
                f"{self.metrics} cannot be read: {error}. Start this run over with resume=never."
            ) from None

    def write_metrics(self, records: list[dict[str, Any]]) -> None:
        """Replace ``metrics.jsonl``."""
        write_text(self.metrics, "".join(json.dumps(record) + "\n" for record in records))

    def record_failure(self, message: str) -> None:
        """Note why the run failed."""
        write_json(self.failure, {"message": message})

    def forget_failure(self) -> None:
        """The run is tried again."""
        self.failure.unlink(missing_ok=True)

    def read_failure(self) -> str | None:
        """Why the last attempt failed; None if it did not."""
        try:
            return str(json.loads(self.failure.read_text(encoding="utf-8"))["message"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError):
            return "the reason cannot be read"


def _file_name(name: str) -> str:
    """A name that is safe in a path: ``timm/resnet10t`` becomes ``timm-resnet10t``."""
    return re.sub(r"[^\w.+-]+", "-", name).strip(".-") or "unnamed"
