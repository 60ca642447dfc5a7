"""The lake: the log as Parquet files that outlive the store, and one log made of both.

================================== ================================================================
module                             what it is
================================== ================================================================
:mod:`eventcore.lake.archiving`    the log's events into files, each file once, whatever crashes
:mod:`eventcore.lake.reading`      an archive: by shard, by position, by stream, with digests
:mod:`eventcore.lake.stitching`    an archive and its log as one log without gap or overlap
:mod:`eventcore.lake.retention`    what may leave the log, once an archive has it
================================== ================================================================
"""

from importlib.util import find_spec

from eventcore.errors import MissingExtraError

for _package in ("pyarrow", "numpy"):
    if find_spec(_package) is None:
        raise MissingExtraError(feature="An archive", package=_package, extra="lake")
