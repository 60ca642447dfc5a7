"""Read models: what they keep, how events change them, and the runner that keeps them up to date.

The SQLite backend, :mod:`eventcore.projections.sqlite.views`, is imported only where it is used.
"""

from eventcore.projections.columns import TimeText
from eventcore.projections.engine import Engine
from eventcore.projections.memory import MemoryViews
from eventcore.projections.projection import Projection, appends, on
from eventcore.projections.read_models import built_in_projections
from eventcore.projections.runner import Progress, ProjectionRunner
from eventcore.projections.statuses import ProjectionStatus
from eventcore.projections.tables import Index, Table
from eventcore.projections.transactions import Checkpoint, Transaction
from eventcore.projections.views import Views

__all__ = [
    "Checkpoint",
    "Engine",
    "Index",
    "MemoryViews",
    "Progress",
    "Projection",
    "ProjectionRunner",
    "ProjectionStatus",
    "Table",
    "TimeText",
    "Transaction",
    "Views",
    "appends",
    "built_in_projections",
    "on",
]
