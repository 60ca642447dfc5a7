"""Where the personal data of an event is: fields tagged ``Personal``, as stored paths."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Final, get_args, get_origin

from pydantic import BaseModel

from eventcore.events.event import DomainEvent
from eventcore.events.fields import Personal

EACH: Final = "*"
"""Step of a path that stands for every item of a list and every value of an object."""


@dataclass(frozen=True, slots=True)
class PersonalField:
    """One tagged field.

    Attributes:
        path: Steps from the stored object to the value: ``data`` (payload) or ``meta`` (metadata),
            then wire names and :data:`EACH`.
        subject: Wire name of the payload field that says whose data it is, if there is one.
    """

    path: tuple[str, ...]
    subject: str | None

    def apply(self, envelope: dict[str, Any], change: Callable[..., Any]) -> None:
        """Replace what is there, in place, by ``change(subject=…, field=…, value=…)``."""
        subject = envelope["data"].get(self.subject) if self.subject else None

        def replace(holder: Any, key: Any) -> None:
            holder[key] = change(subject=subject, field=".".join(self.path), value=holder[key])

        _visit(envelope, self.path, replace)


def _visit(holder: Any, path: tuple[str, ...], replace: Callable[[Any, Any], None]) -> None:
    step, *rest = path
    if isinstance(holder, list):
        keys: list[Any] = list(range(len(holder))) if step == EACH else []
    elif isinstance(holder, dict):
        keys = list(holder) if step == EACH else [step]
    else:
        return
    for key in keys:
        if isinstance(key, str) and holder.get(key) is None:
            continue
        if rest:
            _visit(holder[key], tuple(rest), replace)
        else:
            replace(holder, key)


@cache
def personal_fields(event_class: type[DomainEvent]) -> tuple[PersonalField, ...]:
    """The tagged fields of an event class and of its typed metadata, also inside nested models.

    Of a model that contains itself only the first level is looked at.
    """
    roots: list[tuple[str, type[BaseModel]]] = [("data", event_class)]
    if event_class.__event__.metadata is not None:
        roots.append(("meta", event_class.__event__.metadata))
    return tuple(
        PersonalField(path, _alias(event_class, tag.subject))
        for root, model in roots
        for path, tag in _tagged(model, (), (root,), frozenset())
    )


def _tagged(  # noqa: PLR0917 - what is walked through, all of it
    annotation: Any, tags: tuple[Any, ...], path: tuple[str, ...], seen: frozenset[Any]
) -> Iterator[tuple[tuple[str, ...], Personal]]:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _tagged(inner[0], (*tags, *inner[1:]), path, seen)
    elif found := [tag for tag in tags if isinstance(tag, Personal)]:
        yield path, found[0]
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if annotation not in seen:
            for name, info in annotation.model_fields.items():
                below = (*path, info.alias or name)
                yield from _tagged(
                    info.annotation, tuple(info.metadata), below, seen | {annotation}
                )
    else:
        many = isinstance(origin, type) and issubclass(origin, tuple | list | dict)
        for one in inner[1:] if origin is dict else inner:
            yield from _tagged(one, (), (*path, EACH) if many else path, seen)


def _alias(event_class: type[DomainEvent], field: str) -> str | None:
    if field not in event_class.model_fields:
        return None
    return event_class.model_fields[field].alias or field
