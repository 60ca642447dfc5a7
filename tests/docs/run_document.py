"""Runs the code of one Markdown document the way its reader does: from the top, in one session.

Usage: ``python run_document.py DOCUMENT.md``, in an empty working directory. Python blocks share
one namespace. Console blocks whose first command is ``$ eventcore ...`` are run by the shell and
their output is compared (``...`` stands for anything; a command without output is only required to
succeed). A block that cannot be run here says why in the line above it::

    <!-- not run: needs a Postgres server -->

Every such block is reported on its own line of the output, after ``NOT_RUN``.
"""

import doctest
import os
import re
import subprocess
import sys
import types
from pathlib import Path

from sybil import Document, Example
from sybil.document import Document as ParsedDocument
from sybil.parsers.myst import CodeBlockParser

NOT_RUN = "NOT RUN "
MARKER = re.compile(
    r"^[ \t]*<!--\s*not run\b:?\s*(?P<reason>.*?)\s*-->[ \t]*\n(?P<fence>[ \t]*(`{3,}|~{3,}))?",
    re.MULTILINE,
)
COMMAND_SECONDS_MAX = 60
DOCTEST_OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
LANGUAGES_OF_CONSOLE = ("console", "sh", "shell", "bash")


class DocumentError(Exception):
    """A block did not do what the document says it does."""


def run_python(example: Example) -> None:
    """Run a block of statements, or of ``>>>`` examples, in the document's namespace."""
    first_line = example.line + example.parsed.line_offset
    if example.parsed.lstrip().startswith(">>>"):
        test = doctest.DocTestParser().get_doctest(
            str(example.parsed), example.namespace, example.path, example.path, first_line
        )
        if doctest.DocTestRunner(optionflags=DOCTEST_OPTIONS).run(test, clear_globs=False).failed:
            raise DocumentError(f"{example.path}:{example.line}: the examples print other things")
        example.namespace.update(test.globs)
        return
    # Empty lines in front, so that a traceback names the line of the document.
    code = compile("\n" * first_line + example.parsed, example.path, "exec", dont_inherit=True)
    exec(code, example.namespace)


def console_commands(source: str) -> list[tuple[str, str]]:
    """Split a console block into commands and the output shown below each."""
    commands: list[tuple[str, str]] = []
    for line in source.splitlines():
        if line.startswith("$ "):
            commands.append((line[2:], ""))
        elif commands and commands[-1][0].endswith("\\"):
            commands[-1] = (f"{commands[-1][0]}\n{line}", "")
        elif commands:
            commands[-1] = (commands[-1][0], f"{commands[-1][1]}{line}\n")
    return commands


def run_console(example: Example) -> None:
    """Run the commands of a block that begins with ``$ eventcore``."""
    if not example.parsed.startswith("$ eventcore"):
        return
    for command, expected in console_commands(example.parsed):
        done = subprocess.run(
            command,
            shell=True,
            check=False,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS_MAX,
            env=os.environ | {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "100"},
        )
        place = f"{example.path}:{example.line}: $ {command}"
        if done.returncode != 0:
            raise DocumentError(f"{place}\nexit code {done.returncode}\n{done.stdout}{done.stderr}")
        same = doctest.OutputChecker().check_output(expected, done.stdout, DOCTEST_OPTIONS)
        if expected.strip() and not same:
            raise DocumentError(f"{place}\nshown:\n{expected}\nprinted:\n{done.stdout}")


def reasons_not_to_run(document: ParsedDocument) -> dict[int, str]:
    """Find the marked blocks: start of the block to the reason given for it.

    Raises:
        DocumentError: A marker gives no reason, or no block follows it. Fix the document.
    """
    reasons: dict[int, str] = {}
    for marker in MARKER.finditer(document.text):
        line = document.text.count("\n", 0, marker.start()) + 1
        if not marker["reason"] or marker["fence"] is None:
            raise DocumentError(f"{document.path}:{line}: 'not run' needs a reason and a block")
        reasons[marker.start("fence")] = marker["reason"]
    return reasons


def run(path: Path) -> None:
    """Run every block of the document at ``path`` in order; stop at the first that fails."""
    parsers = [CodeBlockParser("python", run_python)]
    parsers += [CodeBlockParser(language, run_console) for language in LANGUAGES_OF_CONSOLE]
    document = Document.parse(str(path), *parsers)
    reasons = reasons_not_to_run(document)
    # The reader's module is __main__: pydantic and pickle look names up there.
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    document.namespace = vars(module)
    for example in document.examples():
        if example.start in reasons:
            print(f"{NOT_RUN}line {example.line}: {reasons[example.start]}")
        else:
            example.evaluate()


if __name__ == "__main__":
    run(Path(sys.argv[1]))
