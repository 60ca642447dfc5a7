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
from eventcore.projections.views import Views

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
    fingerprint = "1"
    tables = (ML_MODELS,)
    share_by = "stream"

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


class Models:
    """Reads models from wherever they are kept, each by a key or an index.

    Args:
        views: e.g. ``app.views``.
    """

    def __init__(self, views: Views) -> None:
        self._views = views

    def get(self, model_id: str, version: str) -> ModelRow | None:
        """One version of a model; None if there is none."""
        where = {"model_id": model_id, "version": version}
        return next(self._views.query(ML_MODELS, where), None)

    def live(self, model_type: str) -> list[ModelRow]:
        """The versions that answer, of models of a type."""
        where = {"model_type": model_type, "status": "deployed"}
        return list(self._views.query(ML_MODELS, where))

    def best(self, model_type: str, metric: str, limit: int = 10) -> list[ModelRow]:
        """The versions with the largest values of a metric, largest first; of one value by key.

        Reads the versions of all models of the type: there are few.

        Args:
            model_type: Of the models.
            metric: Its name; versions without a number for it are left out.
            limit: At most so many.
        """
        ranked = [
            row
            for row in self._views.query(ML_MODELS, {"model_type": model_type})
            if _is_number(row.metrics.get(metric))
        ]
        return sorted(ranked, key=lambda row: row.metrics[metric], reverse=True)[:limit]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
