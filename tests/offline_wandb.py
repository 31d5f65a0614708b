"""What is in a file that W&B writes offline: LevelDB log blocks of its protobuf records."""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BLOCK, HEADER, PREAMBLE = 32768, 7, 7
FULL, LAST = 1, 4


@dataclass
class Told:
    history: list[dict[str, Any]] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    artifacts: int = 0
    exit_code: int | None = None


def read_offline(file: Path) -> Told:
    """All that a run's file tells."""
    import wandb
    from wandb.proto.wandb_internal_pb2 import Record

    wandb.teardown()  # its service writes the last block some time after a run's finish()
    told = Told()
    for content in _records(file.read_bytes()):
        record = Record.FromString(content)
        match record.WhichOneof("record_type"):
            case "history":
                told.history.append(_values(record.history.item))
            case "config":
                told.config |= _values(record.config.update)
            case "run":
                told.config |= _values(record.run.config.update)
            case "summary":
                told.summary |= _values(record.summary.update)
            case "artifact":
                told.artifacts += 1
            case "request" if record.request.HasField("log_artifact"):
                told.artifacts += 1
            case "exit":
                told.exit_code = record.exit.exit_code
    return told


def _records(content: bytes) -> Iterator[bytes]:
    record, at = b"", PREAMBLE
    while at + HEADER <= len(content):
        if BLOCK - at % BLOCK < HEADER:
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", content, at)
        record += content[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (FULL, LAST):
            yield record
            record = b""


def _values(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}
