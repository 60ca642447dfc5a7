"""Move a service to another store, and stand still for seconds only.

    python examples/move_store.py sqlite:///shop.db "postgresql://host/shop?schema=live"
    ... stop the writers ...
    python examples/move_store.py sqlite:///shop.db "postgresql://host/shop?schema=live" --final

While the service runs, it copies again and again until next to nothing is left to copy. Once the
writers are stopped, ``--final`` copies the rest, in seconds, and proves by the digest of both logs
that nothing is missing and nothing differs. Then start the service on the new store; its read
models are made there by ``eventcore projections run``. Broken off at any moment, it is run again.
"""

import argparse
import sys
from contextlib import ExitStack, closing

from eventcore.errors import EventCoreError
from eventcore.opening import open_log
from eventcore.seals import Copied, copy_log, digest_of
from eventcore.settings import without_creating

REST_EVENTS = 100
"""So few are copied while nobody notices that the service stands still."""


def copied(source: str, target: str) -> Copied:
    with ExitStack() as stack:
        log = stack.enter_context(closing(open_log(without_creating(source))))
        written = stack.enter_context(closing(open_log(target)))
        found = copy_log(log, written, names=(source, target))
    print(f"copied {found.copied} events, {found.total} are there")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("source", metavar="FROM")
    parser.add_argument("target", metavar="TO")
    parser.add_argument("--final", action="store_true", help="the writers are stopped")
    options = parser.parse_args()
    try:
        found = copied(options.source, options.target)
        while not options.final and found.copied > REST_EVENTS:
            found = copied(options.source, options.target)
        if not options.final:
            print("next to nothing is left: stop the writers, then run this with --final")
            return 0
        with closing(open_log(without_creating(options.source))) as log:
            now = digest_of(log.read()).hex()
    except EventCoreError as error:
        print(f"NOT MOVED: {error}", file=sys.stderr)
        return 1
    if now != found.log:
        print("NOT MOVED: somebody still writes to the old store", file=sys.stderr)
        return 1
    print(f"moved: both have the digest {now}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
