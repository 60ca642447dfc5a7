"""The lake: the log as Parquet files that outlive the store.

================================== ================================================================
module                             what it is
================================== ================================================================
:mod:`eventcore.lake.archiving`    the log's events into files, each file once, whatever crashes
:mod:`eventcore.lake.reading`      an archive: by shard, by position, by stream, with digests
================================== ================================================================
"""

from importlib.util import find_spec

from eventcore.errors import MissingExtraError

for _package in ("pyarrow", "numpy"):
    if find_spec(_package) is None:
        raise MissingExtraError(feature="An archive", package=_package, extra="lake")
