"""A checksum inside a JSON file, over what the file says and over files that belong to it."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

KEY = "sha256"


def seal(value: Mapping[str, Any], *contents: bytes) -> dict[str, Any]:
    """The value with a checksum of it and of the contents, under the key ``sha256``."""
    unsealed = {key: field for key, field in value.items() if key != KEY}
    digest = hashlib.sha256(json.dumps(unsealed, sort_keys=True).encode())
    for content in contents:
        digest.update(hashlib.sha256(content).digest())
    return {**unsealed, KEY: digest.hexdigest()}


def is_broken(value: Mapping[str, Any], *contents: bytes) -> bool:
    """Whether the value or the contents are not what was sealed; what has no seal is not broken."""
    return KEY in value and value[KEY] != seal(value, *contents)[KEY]
