"""Model: a machine-learning model and its versions, each trained, deployed and retired once.

A version is trained once. A trained version is deployed; deploying it again moves its endpoint. A
trained or deployed version is retired, for good.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from eventcore.aggregates.aggregate import Aggregate, applies, guards
from eventcore.events.catalogue.models import (
    ModelDeployed,
    ModelRegistered,
    ModelRetired,
    ModelVersionTrained,
)


class VersionStatus(StrEnum):
    """Where a version of a model stands."""

    TRAINED = "trained"
    DEPLOYED = "deployed"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One version of a model.

    Attributes:
        status: trained, deployed or retired.
        metrics: How good it was when it was trained, by name; never changed.
        training_dataset: What it was trained on, if it was said.
        endpoint: Where it answers, if it was said.
    """

    status: VersionStatus
    metrics: dict[str, float] = field(default_factory=dict)
    training_dataset: str | None = None
    endpoint: str | None = None

    def __deepcopy__(self, _memo: object) -> ModelVersion:
        # What copies must not share is the one thing in it that could be changed.
        return ModelVersion(self.status, dict(self.metrics), self.training_dataset, self.endpoint)


@dataclass(kw_only=True)
class Model(Aggregate, category="model", begins_with=ModelRegistered):
    """A model.

    Attributes:
        name, model_type: As registered; None before.
        versions: The versions that were trained, by name, in that order.
    """

    name: str | None = None
    model_type: str | None = None
    versions: dict[str, ModelVersion] = field(default_factory=dict)

    @guards(ModelVersionTrained)
    def _a_version_is_trained_once(self, event: ModelVersionTrained) -> None:
        if event.model_version in self.versions:
            self._refuse_version(event.model_version, "a version is trained once")

    @guards(ModelDeployed)
    def _only_trained_ones_are_deployed(self, event: ModelDeployed) -> None:
        version = self.versions.get(event.model_version)
        if version is None or version.status is VersionStatus.RETIRED:
            self._refuse_version(event.model_version, "only a trained version is deployed")

    @guards(ModelRetired)
    def _only_living_ones_are_retired(self, event: ModelRetired) -> None:
        version = self.versions.get(event.model_version)
        if version is None or version.status is VersionStatus.RETIRED:
            self._refuse_version(
                event.model_version, "only a trained or deployed version is retired"
            )

    def _refuse_version(self, name: str, rule: str) -> None:
        version = self.versions.get(name)
        self.refuse(
            "invalid-transition",
            f"version {name!r} is {version.status if version else 'not trained'}, {rule}",
        )

    @applies(ModelRegistered)
    def _registered(self, event: ModelRegistered) -> None:
        self.name = event.name
        self.model_type = event.model_type

    @applies(ModelVersionTrained)
    def _version_trained(self, event: ModelVersionTrained) -> None:
        self.versions[event.model_version] = ModelVersion(
            VersionStatus.TRAINED, dict(event.metrics), event.training_dataset
        )

    @applies(ModelDeployed)
    def _deployed(self, event: ModelDeployed) -> None:
        before = self.versions.get(event.model_version) or ModelVersion(VersionStatus.TRAINED)
        self.versions[event.model_version] = replace(
            before, status=VersionStatus.DEPLOYED, endpoint=event.endpoint
        )

    @applies(ModelRetired)
    def _retired(self, event: ModelRetired) -> None:
        before = self.versions.get(event.model_version) or ModelVersion(VersionStatus.TRAINED)
        self.versions[event.model_version] = replace(before, status=VersionStatus.RETIRED)

    def register(self, *, name: str, model_type: str) -> None:
        """Begin to keep a model.

        Raises:
            RuleViolationError: ``already-exists``.
        """
        self.record(ModelRegistered(model_id=self.id, name=name, model_type=model_type))

    def train_version(
        self,
        *,
        model_version: str,
        metrics: dict[str, float],
        training_dataset: str | None = None,
    ) -> None:
        """Note that a version was trained, and how good it is.

        Raises:
            RuleViolationError: ``not-found``, ``invalid-transition``.
        """
        self.record(
            ModelVersionTrained(
                model_id=self.id,
                model_version=model_version,
                metrics=metrics,
                training_dataset=training_dataset,
            )
        )

    def deploy_version(self, *, model_version: str, endpoint: str | None = None) -> None:
        """Let a trained version answer requests.

        Raises:
            RuleViolationError: ``not-found``, ``invalid-transition``.
        """
        self.record(ModelDeployed(model_id=self.id, model_version=model_version, endpoint=endpoint))

    def retire_version(self, *, model_version: str) -> None:
        """Take a version out of use, for good.

        Raises:
            RuleViolationError: ``not-found``, ``invalid-transition``.
        """
        self.record(ModelRetired(model_id=self.id, model_version=model_version))
