"""The recorders of ``eventsourcing`` on DynamoDB, in the table and the order of the log.

What an application's recorder writes are the items of a log (:mod:`..layout`), so everything that
is said of the log holds: nothing is skipped, nothing is locked. The name of that log is ``app.``
and the name of the application. Beside it, in the same table:

============= ============================ ======= ===========================================
item          ``pk``                       ``sk``  attributes
============= ============================ ======= ===========================================
tracking      ``P#k#UPSTREAM``             0       ``c`` last position recorded; ``k`` token of
                                                   the write that recorded it
snapshot, or  ``P#a#PURPOSE#ORIGINATOR``   version ``y`` topic; ``d`` state; ``k`` as above
event without
a position
============= ============================ ======= ===========================================
"""
