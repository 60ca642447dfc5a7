"""``python -m eventcore`` is the ``eventcore`` command."""

from eventcore.cli import main

main()
