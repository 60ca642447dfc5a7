"""Bookkeeping: the tables that the library keeps beside read models, whichever these are.

========================================================================== =======================
tables                                                                     made when first
========================================================================== =======================
``eventcore_parked_units``, ``eventcore_parked``, ``eventcore_skipped``    an event fails
``eventcore_generations``                                                  something is rebuilt
``eventcore_workers``, ``eventcore_shares``                                workers share the work
========================================================================== =======================

Who runs projections may be forbidden to make tables. Then whoever makes those of the read models
makes these, too.
"""

from __future__ import annotations

from eventcore.projections.generation_records import Generations
from eventcore.projections.parking import ParkingTables
from eventcore.projections.projection import Projection
from eventcore.projections.worker_tables import Workers


def bookkeeping() -> list[Projection]:
    """The owners of the tables; no event changes them."""
    return [ParkingTables(), Generations(), Workers()]
