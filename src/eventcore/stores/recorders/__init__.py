"""The log on a recorder of ``eventsourcing``: any database that one of its modules reaches.

For an application that has such a recorder already, or a database that only an ``eventsourcing``
extension knows::

    from eventcore import Settings, open_app
    from eventcore.stores.recorders import RecorderLog
    from eventsourcing.persistence import InfrastructureFactory

    with InfrastructureFactory.construct({..., "ORIGINATOR_ID_TYPE": "text"}) as factory:
        log = RecorderLog(factory.application_recorder())
        with open_app(log=log, settings=Settings(views="sqlite:///views.db")) as app:
            ...

What it cannot promise, see :class:`RecorderLog`.
"""

from eventcore.stores.recorders.log import RecorderLog

__all__ = ["RecorderLog"]
