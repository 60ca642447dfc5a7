"""Print the runs of the OpenML AutoML Benchmark of 2019 as ``ml.model.*`` events.

    python examples/amlb_models.py amlb_2019_runs_1h.csv.gz | eventcore ingest -

A model is a framework on a task (``autosklearn:australian``), registered at the time of its first
run; a run on one fold of the task is a version of it (``0.5.1-fold3``), trained at the time the
benchmark wrote down for the run, in UTC. The training set is the run's OpenML task.

Metrics are the numbers as the file writes them. The columns imp_result and imp_score are left out:
they repeat result and score, and for a run without them hold what the benchmark's authors put in
its place. What a run has besides (its seed, which the file rounds, its duration in seconds, ...)
goes into the metadata, as text.

A run without a result failed. A failed training is no event of the catalogue, so such a run is left
out (``--summary`` counts them), though its model is registered: it was tried.

Source: github.com/openml/automlbenchmark, reports/old/tables/1h.
"""

import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from operator import itemgetter
from typing import BinaryIO

import orjson
from wire_lines import Event, SourceError, arguments, csv_rows, print_events, utc_text, wire_event

DATA_SET = "openml-amlb"
METRICS = ("acc", "auc", "logloss", "result", "score", "norm_score")
CIRCUMSTANCES = ("fold", "seed", "duration", "models", "params", "mode", "tag")
COLUMNS = ("framework", "version", "task", "type", "id", "utc", *METRICS, *CIRCUMSTANCES)
JSON_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def events(source: BinaryIO, left_out: Counter[str]) -> Iterator[Event]:
    registered: set[str] = set()
    runs = [dict(zip(COLUMNS, row, strict=True)) for row in csv_rows(source, COLUMNS)]
    # All times have one form, so their text sorts as they do; runs of one second keep their order.
    for run in sorted(runs, key=itemgetter("utc")):
        model_id = f"{run['framework']}:{run['task']}"
        timestamp = utc_text(datetime.fromisoformat(run["utc"]).replace(tzinfo=UTC))
        if model_id not in registered:
            registered.add(model_id)
            yield wire_event(
                "ml.model.registered",
                DATA_SET,
                timestamp,
                payload={"modelId": model_id, "name": run["framework"], "modelType": run["type"]},
                position=f"{model_id}:{run['utc']}",
            )
        if not run["result"]:
            left_out["failed runs"] += 1
            continue
        yield trained(run, model_id, timestamp)


def trained(run: dict[str, str], model_id: str, timestamp: str) -> Event:
    model_version = f"{run['version']}-fold{run['fold']}"
    return wire_event(
        "ml.model.version_trained",
        DATA_SET,
        timestamp,
        payload={
            "modelId": model_id,
            "modelVersion": model_version,
            "metrics": {name: json_number(run[name]) for name in METRICS if run[name]},
            "trainingDataset": run["id"],
        },
        position=f"{model_id}:{model_version}:{run['utc']}",
        metadata={name: run[name] for name in CIRCUMSTANCES if run[name]},
    )


def json_number(text: str) -> orjson.Fragment:
    """Pass a number on as it is written; Infinity and NaN are none in JSON.

    Raises:
        SourceError: The text is not a JSON number.
    """
    if not JSON_NUMBER.fullmatch(text):
        msg = f"{text!r} is not a JSON number"
        raise SourceError(msg)
    return orjson.Fragment(text)


if __name__ == "__main__":
    print_events(arguments(__doc__).parse_args(), events)
