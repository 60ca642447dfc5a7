"""SQL from files: each statement has a name and its purpose beside it, none is built in Python."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@cache
def load_statements(package: str, file_name: str) -> dict[str, str]:
    """The statements of a packaged ``.sql`` file by name, in the order they stand."""
    text = (resources.files(package) / file_name).read_text(encoding="utf-8")
    parts = _NAME.split(text)[1:]
    return {name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}
