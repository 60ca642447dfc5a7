"""What happens to a machine-learning model, and what it answers."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from eventcore.events.event import DomainEvent, EventMetadata
from eventcore.events.fields import Id, JsonValue, Note, Text

Name = Annotated[str, Field(min_length=1, max_length=1_000, pattern=r"^[^\x00]+$")]


class ModelEvent(DomainEvent, category="model", key="model_id", group="ml"):
    """Base of what happens to a model."""

    model_id: Id


class ModelRegistered(ModelEvent, type="ml.model.registered"):
    """A model got its name. First event of the stream."""

    name: Name
    model_type: Name


class ModelVersionTrained(ModelEvent, type="ml.model.version_trained"):
    """A version was trained and measured."""

    model_version: Id
    metrics: dict[Note, float]
    training_dataset: Text | None = None


class ModelDeployed(ModelEvent, type="ml.model.deployed"):
    """A trained version answers requests."""

    model_version: Id
    endpoint: Text | None = None


class ModelRetired(ModelEvent, type="ml.model.retired"):
    """A version answers no more, for good."""

    model_version: Id


class InferenceMetadata(EventMetadata):
    """How an answer was made. ``inference_time`` in milliseconds."""

    inference_time: float | None = None
    endpoint: Note | None = None
    model_type: Note | None = None


class ModelInference(
    DomainEvent,
    type="ml.model.inference",
    category="inference",
    key="model_id",
    group="ml",
    metadata=InferenceMetadata,
):
    """A model answered. Kept in a stream of its own: inside the model it would grow for ever."""

    model_id: Id
    model_version: Id
    input: JsonValue
    output: JsonValue
    confidence: Annotated[float, Field(ge=0, le=1)] | None = None
