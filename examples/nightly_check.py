r"""What a service owner runs at night: is the log as it was, and is the backup worth anything?

    python examples/nightly_check.py --store sqlite:///shop.db --seals /mnt/audit/seals.jsonl \
        --anchors /mnt/audit/anchors.txt [--public-key seal.pub] [--backup shop-backup.db]

It verifies the log by its seals, the read models by the log, and the backup by both; then it notes
the digest of the last seal in a second file, and demands it the next night: so the file of seals
cannot be shortened unseen. It prints one line a step, and ends with 1 at the first that is not
right: for a timer that sends a mail when its job fails. Sealing itself is a service of its own
(``eventcore seal --follow``), with a key that this program does not have.
"""

import argparse
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from eventcore.app import open_app
from eventcore.errors import EventCoreError
from eventcore.opening import open_log
from eventcore.seals import Checks, SealFile, read_checking_key, verify_log
from eventcore.seals.read_models import verify_read_models
from eventcore.settings import without_creating


class NotRightError(Exception):
    """Somebody has to look."""


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--store", required=True)
    parser.add_argument("--seals", required=True, type=Path)
    parser.add_argument("--anchors", required=True, type=Path)
    parser.add_argument("--public-key", type=Path)
    parser.add_argument("--backup", type=Path)
    return parser.parse_args()


def last_anchor(path: Path) -> str | None:
    lines = path.read_text().split() if path.exists() else []
    return lines[-1] if lines else None


def check_log(options: argparse.Namespace) -> None:
    seals = SealFile(options.seals)
    key = None if options.public_key is None else read_checking_key(options.public_key)
    checks = Checks(seals=seals, key=key, anchor=last_anchor(options.anchors))
    with closing(open_log(without_creating(options.store))) as log:
        verdict = verify_log(log, checks)
    if verdict.finding is not None:
        raise NotRightError(verdict.finding.in_words())
    print(f"log: {verdict.events} events, {verdict.sealed} as they were sealed")
    *_, last = seals.read()
    with options.anchors.open("a") as file:
        file.write(f"{last.digest}\n")


def check_read_models(options: argparse.Namespace) -> None:
    with open_app(without_creating(options.store)) as app:
        verdict = verify_read_models(app.log, app.views, app.projections, now=app.now())
    if verdict.finding is not None:
        raise NotRightError(verdict.finding.in_words())
    print(f"read models: {verdict.rows} rows of {len(verdict.projections)} are what the log makes")


def check_backup(options: argparse.Namespace) -> None:
    # The command does it all: it copies, opens, verifies, compares and replays.
    program = str(Path(sys.executable).with_name("eventcore"))
    arguments = ["backup", "verify", str(options.backup), "--seals", str(options.seals)]
    done = subprocess.run(  # noqa: S603 - what the owner named
        [program, *arguments, "--store", options.store], check=False, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise NotRightError(done.stderr.strip())
    print("backup: it can be restored, and is as the log was")


def main() -> int:
    options = parsed()
    try:
        check_log(options)
        check_read_models(options)
        if options.backup is not None:
            check_backup(options)
    except (NotRightError, EventCoreError) as error:
        print(f"NOT RIGHT: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
