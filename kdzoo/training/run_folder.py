"""A run's folder: what is in it, and who may write there."""

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kdzoo.compose import read_stored, to_yaml
from kdzoo.config import RunConfig
from kdzoo.errors import UnreadableError, UserError
from kdzoo.files import (
    Lock,
    lease_of,
    read_bytes,
    read_json,
    write_json,
    write_text,
)
from kdzoo.home import expand_user
from kdzoo.identity import identity_of
from kdzoo.lease import holder_of
from kdzoo.seal import is_broken, seal
from kdzoo.student import DESCRIPTION, WEIGHTS, read_weights
from kdzoo.training.checkpoint import DamagedCheckpointError, load_checkpoint, save_checkpoint
from kdzoo.training.result import EpochRecord, Result, check_figures, epochs_in
from kdzoo.training.run_identity import RunIdentity, without_places
from kdzoo.training.run_lock import lock_if_dead

MADE_AGAIN = "Remove it; the command that trained the run then writes it again."


class RunFolder:
    """The files of one run.

    ``config.yaml`` (a recipe that repeats the run), ``identity.json`` (what it was trained on, to
    be told from others), ``environment.json``, ``metrics.jsonl`` (a line
    an epoch), ``checkpoint.pt`` and the one before it, ``checkpoint-previous.pt``,
    ``student.safetensors`` with ``student.json``, and, when the run is finished, ``result.json``.
    A bench leaves two more: ``log.txt``, what the run printed in all its attempts, and
    ``failure.json``, which is there while the last attempt has failed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: Lock | None = None
        self.config = path / "config.yaml"
        self.identity = path / "identity.json"
        self.environment = path / "environment.json"
        self.metrics = path / "metrics.jsonl"
        self.checkpoint = path / "checkpoint.pt"
        self.previous = path / "checkpoint-previous.pt"
        self.result = path / "result.json"
        self.log = path / "log.txt"
        self.failure = path / "failure.json"

    @classmethod
    def of(cls, config: RunConfig, identity: RunIdentity) -> "RunFolder":
        """Where a run belongs: ``OUT/dataset/backbone/method/seedN-<hash of its identity>``."""
        return cls(place_of(config) / f"seed{config.seed}-{identity.digest()}")

    @property
    def is_finished(self) -> bool:
        """Whether there is a result, and it and the student can be relied on."""
        return self.result.exists() and self.damage() is None

    def damage(self) -> str | None:
        """Why a result that is there cannot be relied on; None where it can."""
        try:
            result = self.read_result()
            self.check_identity_of(result)
            _, student = read_weights(self.path)
        except UserError as error:
            return str(error)
        if result.get("identity") is not None and not self.identity.exists():
            return f"{self.identity} is missing."
        known = result["student"].get("sha256", student.sha256)
        return None if known == student.sha256 else f"{self.path} holds the student of another run."

    def check_identity_of(self, result: Mapping[str, Any]) -> None:
        """Make sure that the run says it was trained on what it was when it ended.

        Args:
            result: of :meth:`read_result`. Those of earlier versions do not tell, nor does a folder
                without ``identity.json``.

        Raises:
            UserError: ``identity.json`` is another file by now.
        """
        if result.get("identity") is None or not os.path.lexists(self.identity):
            return
        try:
            same = self.identity_digest() == result["identity"]
        except PermissionError as error:
            raise UnreadableError(self.identity, error) from None
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"{self.identity} cannot be read: {reason}.") from None
        if not same:
            raise UserError(f"{self.identity} is not as it was when the run ended.")

    def identity_digest(self) -> str:
        """The SHA-256 of ``identity.json``.

        Raises:
            OSError: there is none, or it cannot be read.
        """
        return hashlib.sha256(read_bytes(self.identity)).hexdigest()

    @contextmanager
    def locked(self, patience: float = 0.0) -> Iterator[None]:
        """Hold the folder, until the process ends at the latest.

        Args:
            patience: seconds to wait for a holder on another machine that gives no sign of life.

        Raises:
            UserError: another process holds it, or it cannot be written.
        """
        file = self.path / ".lock"
        lock = lock_if_dead(file, patience)
        if lock is None:
            holder = holder_of(lease_of(file)) or "it does not say which"
            raise UserError(
                f"Another process is writing to {self.path} ({holder}). Wait for it, or choose "
                "another seed= or out=."
            )
        self._lock = lock
        try:
            yield
        finally:
            self._lock = None
            lock.release()

    def _refuse_if_lost(self) -> None:
        if self._lock is not None and self._lock.lost:
            raise UserError(
                f"{self.path} has been taken over by {holder_of(lease_of(self.path / '.lock'))}, "
                "because this process could give no sign of life there for a minute. It goes on "
                "with the run; nothing more is written from here."
            )

    def check(self, identity: RunIdentity) -> None:
        """Make sure that what is in the folder belongs to a run.

        Raises:
            UserError: it belongs to another one.
        """
        known = self.identity.is_file()
        if known:
            with _made_again():
                theirs = self.read_identity()
            self._refuse(identity.differences(theirs), self.identity)
        if self.config.is_file():
            with _made_again():
                changed = self._changed_settings(identity)
            if known:
                self._refuse_edited(changed)
            self._refuse(changed, self.config)

    def check_config(self, keys: Collection[str]) -> None:
        """Make sure that settings in ``config.yaml`` are those that the run was trained with.

        Args:
            keys: which ones, by their first key. Nothing tells where ``identity.json`` is missing
                or damaged.

        Raises:
            UserError: they are others.
        """
        try:
            changed = self._changed_settings(self.read_identity())
        except UserError:
            return
        self._refuse_edited(
            {name: to for name, to in changed.items() if name.partition(".")[0] in keys}
        )

    def _refuse_edited(self, changed: Mapping[str, str]) -> None:
        if changed:
            raise UserError(
                f"{self.config} is not what the run was trained with: {_listed(changed)} differ "
                f"from {self.identity.name}. {MADE_AGAIN}"
            )

    def _changed_settings(self, identity: RunIdentity) -> dict[str, str]:
        theirs = without_places(identity_of(read_stored(self.config), RunConfig), identity)
        return identity.differences(replace(identity, settings=theirs))

    def _refuse(self, different: Mapping[str, str], file: Path) -> None:
        if different:
            raise UserError(
                f"{self.path} holds a run with another config: {_listed(different)} differ, says "
                f"{file}. Choose another out=DIR, or resume=never to replace it."
            )

    def claim(self, config: RunConfig, identity: RunIdentity) -> None:
        """Make the folder that of a run: its own so far, or emptied under resume=never.

        Raises:
            UserError: the folder belongs to another run.
        """
        checkpoints = self.checkpoint, self.previous
        for file in (self.config, self.identity, self.metrics, *checkpoints, self.result):
            if file.exists() and not file.is_file():
                raise UserError(f"{file} is in the way: it is no file. Move it away.")
        if config.resume == "never":
            self.clear()
        else:
            self.check(identity)
        write_text(self.config, to_yaml(config))
        write_json(self.identity, identity.to_json())

    def read_identity(self) -> RunIdentity:
        """What the run in the folder was trained on.

        Raises:
            UserError: there is no such file, or it is damaged.
        """
        try:
            return RunIdentity.from_json(read_json(self.identity))
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, problem["loc"]))
            reason = f"{where}: {problem['msg']}" if where else "it is no mapping"
            raise UserError(
                f"{self.identity} is no identity of a run ({reason}). {MADE_AGAIN}"
            ) from None

    def clear(self) -> None:
        """Remove what an earlier run left, its result first so that it no longer counts."""
        leftovers = (
            self.result,
            self.previous,
            self.checkpoint,
            self.metrics,
            self.path / WEIGHTS,
            self.path / DESCRIPTION,
            self.path / "tracker.json",
        )
        for file in leftovers:
            file.unlink(missing_ok=True)

    def read_result(self) -> dict[str, Any]:
        """The finished run's result.

        Raises:
            UserError: there is none, or it is damaged or does not belong to the other files.
        """
        result = read_json(self.result)
        checked = check_figures(Result, result, str(self.result))
        epochs = self.read_epochs()
        if is_broken(result, self._metrics()):
            raise UserError(
                f"{self.result} and {self.metrics} do not belong together, or one is damaged: the "
                "checksum in the former is another."
            )
        if len(epochs) != checked.epochs:
            raise UserError(
                f"{self.metrics} holds {len(epochs)} epochs, and {self.result} is of "
                f"{checked.epochs}."
            )
        theirs, ours = result.get("config"), identity_of(read_stored(self.config), RunConfig)
        is_another = isinstance(theirs, dict) and identity_of(theirs, RunConfig) != ours
        if is_another or ours.get("seed", checked.seed) != checked.seed:
            raise UserError(f"{self.result} is of another config than {self.config}.")
        return result

    def write_result(self, result: dict[str, Any]) -> None:
        """Mark the run as finished; the result keeps what it is of, its config and metrics."""
        config = identity_of(read_stored(self.config), RunConfig)
        write_json(self.result, seal({**result, "config": config}, self._metrics()))

    def _metrics(self) -> bytes:
        try:
            return read_bytes(self.metrics)
        except OSError as error:
            raise UserError(f"{self.metrics} cannot be read: {error.strerror or error}.") from None

    def read_epochs(self) -> list[EpochRecord]:
        """The figures of every epoch so far.

        Raises:
            UserError: the file is missing or damaged.
        """
        return epochs_in(self.metrics, self._metrics())

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is a checkpoint, whole or not."""
        return self.checkpoint.exists() or self.previous.exists()

    def read_checkpoint(self, identity: RunIdentity) -> tuple[dict[str, Any], str | None]:
        """The state that a run needs to go on: the last one of two that is whole.

        Returns:
            the state, and, where it is not that of the last checkpoint, why.

        Raises:
            UserError: what there is is damaged, or of another run than ``identity``'s.
        """
        if self.previous.exists() and not self.checkpoint.exists():  # it died while it was saving
            return self._state_in(self.previous, identity), None
        try:
            return self._state_in(self.checkpoint, identity), None
        except DamagedCheckpointError as damage:
            if not self.previous.exists():
                raise
            try:
                state = self._state_in(self.previous, identity)
            except DamagedCheckpointError as error:
                raise UserError(
                    f"{damage} {self.previous.name}, the one before, is damaged too."
                ) from error
            return state, (
                f"{self.checkpoint} is damaged or no checkpoint of kdzoo's ({damage.reason}) and "
                f"{self.previous.name}, the one before, is taken."
            )

    def drop_last_checkpoint(self) -> None:
        """Have the checkpoint before the last, which is damaged, take its place."""
        self.previous.replace(self.checkpoint)

    def _state_in(self, file: Path, identity: RunIdentity) -> dict[str, Any]:
        state = load_checkpoint(file)
        advice = "Move it away, or start this run over with resume=never."
        try:
            different = identity.differences(RunIdentity.from_json(state.get("identity")))
        except ValueError:
            raise UserError(f"{file} does not say which run it is of. {advice}") from None
        if different:
            raise UserError(f"{file} is of another run: {_listed(different)} differ. {advice}")
        return state

    def write_checkpoint(self, state: dict[str, Any], identity: RunIdentity) -> None:
        """Replace ``checkpoint.pt`` by the state of a run; the one before is kept.

        Raises:
            UserError: it cannot be written, or another machine has taken over the run.
        """
        self._refuse_if_lost()
        state = {**state, "identity": identity.to_json()}
        save_checkpoint(self.checkpoint, state, self.previous)

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
            return str(json.loads(read_bytes(self.failure))["message"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError):
            return "the reason cannot be read"


@contextmanager
def _made_again() -> Iterator[None]:
    """Say of a file that cannot be read, and that the run can do without, how to get it back."""
    try:
        yield
    except UnreadableError:
        raise
    except UserError as error:
        text = str(error)
        raise UserError(text if MADE_AGAIN in text else f"{text} {MADE_AGAIN}") from None


def _listed(different: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({theirs})" for name, theirs in different.items())


def place_of(config: RunConfig) -> Path:
    """The folder of all runs of a method on a backbone and a data set, ``OUT/.../method``."""
    parts = (config.dataset.name, config.backbone_name, config.method.name)
    return expand_user(config.out).joinpath(*map(_file_name, parts))


def _file_name(name: str) -> str:
    """A name that is safe in a path: ``timm/resnet10t`` becomes ``timm-resnet10t``."""
    return re.sub(r"[^\w.+-]+", "-", name).strip(".-") or "unnamed"
