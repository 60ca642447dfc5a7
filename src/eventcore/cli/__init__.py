"""The ``eventcore`` command: thin commands over :mod:`eventcore.app`.

Exit codes:

==== ==========================================================================================
code meaning
==== ==========================================================================================
0    done
1    the answer is no: nothing found, something differs, lines refused with ``--strict``,
     a rule refuses, a projection is stopped
2    called or configured wrongly; a file to read or write is missing, damaged or forbidden
3    the store failed or is not available, or standard output cannot be written
130  interrupted
==== ==========================================================================================

With ``--json`` standard output carries JSON lines and nothing else, and an error is one line on
standard error: ``{"error":{"type","reason"?,"message"}}``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from eventcore.errors import MissingExtraError

EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    try:
        from eventcore.cli.program import run  # noqa: PLC0415 - the extra may be missing

        code = run(list(sys.argv[1:] if arguments is None else arguments))
    except ImportError as error:
        package = (error.name or "").partition(".")[0]
        if package not in {"typer", "rich"}:
            raise
        missing = MissingExtraError(feature="The eventcore command", package=package, extra="cli")
        sys.stderr.write(f"{missing}\n")
        code = 2
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED  # while modules were still being loaded
    sys.exit(code)
