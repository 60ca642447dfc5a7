"""Keys that several read models share."""

from __future__ import annotations

from operator import attrgetter
from typing import Final

by_id: Final = attrgetter("id")
"""The aggregate's id, from the stream's name: nothing of the event need be decoded for it."""
