"""The rules of a model and its versions."""

from __future__ import annotations

import pytest

from eventcore.aggregates import Model, ModelVersion, VersionStatus
from eventcore.errors import RuleViolationError
from eventcore.events.catalogue import ModelDeployed, ModelRetired


def model(*done: str) -> Model:
    made = Model(id="m-1")
    made.register(name="churn", model_type="tree")
    for action in done:
        ACTIONS[action](made)
    return made


ACTIONS = {
    "train": lambda made: made.train_version(
        model_version="1", metrics={"auc": 0.9}, training_dataset="d"
    ),
    "deploy": lambda made: made.deploy_version(model_version="1", endpoint="/v1"),
    "move": lambda made: made.deploy_version(model_version="1", endpoint="/v2"),
    "retire": lambda made: made.retire_version(model_version="1"),
}


def test_a_version_is_trained_deployed_and_retired():
    made = model("train", "deploy", "retire")

    assert made == Model(
        id="m-1",
        version=4,
        name="churn",
        model_type="tree",
        versions={"1": ModelVersion(VersionStatus.RETIRED, {"auc": 0.9}, "d", "/v1")},
    )


def test_a_trained_version_may_be_retired_without_having_been_deployed():
    assert model("train", "retire").versions["1"].status is VersionStatus.RETIRED


def test_deploying_again_moves_the_endpoint():
    assert model("train", "deploy", "move").versions["1"].endpoint == "/v2"


@pytest.mark.parametrize(
    ("done", "action"),
    [
        (("train",), "train"),
        (("train", "deploy"), "train"),
        (("train", "retire"), "train"),
        ((), "deploy"),
        (("train", "retire"), "deploy"),
        ((), "retire"),
        (("train", "retire"), "retire"),
    ],
)
def test_what_a_version_may_not_do(done, action):
    made = model(*done)
    before = made.copy()

    with pytest.raises(RuleViolationError) as refused:
        ACTIONS[action](made)

    assert refused.value.reason == "invalid-transition"
    assert made == before


@pytest.mark.parametrize("action", ACTIONS)
def test_nothing_happens_to_a_model_that_is_not_registered(action):
    with pytest.raises(RuleViolationError) as refused:
        ACTIONS[action](Model(id="m-1"))

    assert refused.value.reason == "not-found"


def test_a_model_is_registered_once():
    with pytest.raises(RuleViolationError) as refused:
        model().register(name="n", model_type="t")

    assert refused.value.reason == "already-exists"


def test_history_that_today_s_rules_would_refuse_still_folds():
    made = Model(id="m-1").fold(
        [
            ModelDeployed(model_id="m-1", model_version="1"),
            ModelRetired(model_id="m-1", model_version="2"),
        ]
    )

    assert {name: version.status for name, version in made.versions.items()} == {
        "1": VersionStatus.DEPLOYED,
        "2": VersionStatus.RETIRED,
    }
