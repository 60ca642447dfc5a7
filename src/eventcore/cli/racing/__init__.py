"""A race on the user's own server: which tables lose events to their readers, and which do not.

Tables are made in a scratch schema, written to by several connections at once that pause inside
their transactions, and read meanwhile. What a reader has not seen in the end is what it lost.
"""
