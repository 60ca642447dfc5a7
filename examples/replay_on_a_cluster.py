"""A replay on the cluster that a team has already: Ray, Spark, or a Dask that runs.

    python examples/replay_on_a_cluster.py --store postgresql://… --archive s3://bucket/lake \
        --into sqlite:///past.db --on ray [--address ray://head:10001]

Makes the read model of orders as it is now, its shards folded by the cluster's workers. They need
the code, and have to reach the store and the archive. Killed and started again, it goes on where
it was. Needs ``ray``, ``pyspark[sql]`` or eventcore's extra ``dask``.
"""

import argparse
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

from typing_extensions import override

from eventcore import EventCoreError, open_app
from eventcore.app import open_views
from eventcore.projections.read_models import ORDERS

JOBS_MAX = 16


class RayExecutor(Executor):
    """Each task is one of Ray's; its reference is a future already."""

    @override
    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        import ray  # type: ignore[import-not-found]  # by who has it

        future: Future[Any] = ray.remote(function).remote(*arguments, **named).future()
        return future


class SparkExecutor(ThreadPoolExecutor):
    """Each task is a job of Spark's: one row in, one row out.

    Args:
        spark: The session.
        jobs: How many at once.
    """

    def __init__(self, spark: Any, jobs: int = JOBS_MAX) -> None:
        super().__init__(jobs)
        self._spark = spark

    @override
    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        return super().submit(self._run, pickle.dumps((function, arguments, named)))

    def _run(self, task: bytes) -> Any:
        frame = self._spark.createDataFrame([(bytearray(task),)], "task binary")
        [row] = frame.mapInArrow(done, "result binary").collect()
        return pickle.loads(row.result)


def done(batches: Iterator[Any]) -> Iterator[Any]:
    """What Spark's workers do with batches of tasks."""
    import pyarrow as pa

    for batch in batches:
        for task in batch.column("task").to_pylist():
            function, arguments, named = pickle.loads(task)
            result = pickle.dumps(function(*arguments, **named))
            yield pa.RecordBatch.from_pydict({"result": pa.array([result], pa.binary())})


def executor_on(kind: str, address: str | None, stack: ExitStack) -> Executor:
    """The executor of a cluster; without an address, of one on this machine."""
    if kind == "ray":
        import ray

        ray.init(address)
        stack.callback(ray.shutdown)
        return RayExecutor()
    if kind == "spark":
        from pyspark.sql import SparkSession  # type: ignore[import-not-found]  # likewise

        if address is None:  # its workers are this Python too, not the first on PATH
            os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        spark = SparkSession.builder.master(address or "local[*]").getOrCreate()
        stack.callback(spark.stop)
        return stack.enter_context(SparkExecutor(spark))
    from distributed import Client

    client = Client(address)  # type: ignore[no-untyped-call]  # it has no types
    executor: Executor = stack.enter_context(client).get_executor()
    return executor


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--store", required=True, help="URL of the log")
    parser.add_argument("--archive", help="folder or s3:// URL of the log's archive")
    parser.add_argument("--into", required=True, help="URL of a database for the rows")
    parser.add_argument("--on", required=True, choices=["ray", "spark", "dask"])
    parser.add_argument("--address", help="of the cluster; without it one is started here")
    options = parser.parse_args()
    try:
        with ExitStack() as stack:
            executor = executor_on(options.on, options.address, stack)
            app = stack.enter_context(open_app(options.store, archive=options.archive))
            views = open_views(options.into, app.log)
            stack.callback(views.close)
            replayed = app.replay(views, ["orders"], executor=executor)
            print(f"{views.count(ORDERS):,} orders from {replayed.events:,} events")
    except EventCoreError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
