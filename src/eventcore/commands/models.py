"""What may be asked of a machine-learning model."""

from __future__ import annotations

from typing_extensions import override

from eventcore.aggregates.models import Model
from eventcore.commands.command import Command
from eventcore.events.catalogue.models import Name
from eventcore.events.fields import Id, Text


class RegisterModel(Command, aggregate=Model):
    """Begin to keep a model."""

    model_id: Id
    name: Name
    model_type: Name

    @override
    def decide(self, model: Model, /) -> None:
        """See :meth:`Model.register`."""
        model.register(name=self.name, model_type=self.model_type)


class TrainVersion(Command, aggregate=Model):
    """Note that a version was trained."""

    model_id: Id
    model_version: Id
    metrics: dict[str, float]
    training_dataset: Text | None = None

    @override
    def decide(self, model: Model, /) -> None:
        """See :meth:`Model.train_version`."""
        model.train_version(
            model_version=self.model_version,
            metrics=self.metrics,
            training_dataset=self.training_dataset,
        )


class DeployVersion(Command, aggregate=Model):
    """Let a trained version answer requests."""

    model_id: Id
    model_version: Id
    endpoint: Text | None = None

    @override
    def decide(self, model: Model, /) -> None:
        """See :meth:`Model.deploy_version`."""
        model.deploy_version(model_version=self.model_version, endpoint=self.endpoint)


class RetireVersion(Command, aggregate=Model):
    """Take a version out of use, for good."""

    model_id: Id
    model_version: Id

    @override
    def decide(self, model: Model, /) -> None:
        """See :meth:`Model.retire_version`."""
        model.retire_version(model_version=self.model_version)
