"""ml_models: the versions of each model, how good they are and whether they answer."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, NamedTuple

from eventcore.events.catalogue import (
    ModelDeployed,
    ModelRegistered,
    ModelRetired,
    ModelVersionTrained,
)
from eventcore.events.recorded import Recorded
from eventcore.projections.projection import Projection, on
from eventcore.projections.read_models.keys import by_id
from eventcore.projections.tables import Index, Table

UNTRAINED = "0"
"""Stands for the version of a model that has none yet; its row goes when the first is trained."""


class ModelRow(NamedTuple):
    """One version of a model; ``metrics`` are names to numbers."""

    model_id: str
    version: str
    model_type: str
    status: Literal["registered", "trained", "deployed", "retired"]
    metrics: dict[str, Any]
    updated_at: datetime


ML_MODELS = Table(
    "ml_models",
    ModelRow,
    key=["model_id", "version"],
    group=["model_id"],
    indexes=[Index.on("model_type", "status")],
)


class MLModels(Projection):
    """Keeps ``ml_models``. Answers (``ml.model.inference``) are in ``events``."""

    name = "ml_models"
    tables = (ML_MODELS,)

    @on(ModelRegistered, group=by_id)
    def registered(self, _rows: list[ModelRow], event: Recorded[ModelRegistered]) -> list[ModelRow]:
        """Add the model, without a version."""
        model_type = event.payload.model_type
        return [ModelRow(event.id, UNTRAINED, model_type, "registered", {}, event.timestamp)]

    @on(ModelVersionTrained, group=by_id)
    def trained(self, rows: list[ModelRow], event: Recorded[ModelVersionTrained]) -> list[ModelRow]:
        """Add the version, of the type its model was registered with."""
        if not rows:
            return rows
        version = event.payload
        trained = ModelRow(
            event.id,
            version.model_version,
            rows[0].model_type,
            "trained",
            dict(version.metrics),
            event.timestamp,
        )
        others = [
            row for row in rows if row.status != "registered" and row.version != trained.version
        ]
        return [*others, trained]

    @on(ModelDeployed, group=by_id)
    def deployed(self, rows: list[ModelRow], event: Recorded[ModelDeployed]) -> list[ModelRow]:
        """Note that the version answers."""
        version = event.payload.model_version
        return [
            row._replace(status="deployed", updated_at=event.timestamp)
            if row.version == version
            else row
            for row in rows
        ]

    @on(ModelRetired, group=by_id)
    def retired(self, rows: list[ModelRow], event: Recorded[ModelRetired]) -> list[ModelRow]:
        """Note that the version answers no more."""
        version = event.payload.model_version
        return [
            row._replace(status="retired", updated_at=event.timestamp)
            if row.version == version
            else row
            for row in rows
        ]
