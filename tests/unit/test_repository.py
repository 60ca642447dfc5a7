"""The repository keeps its own rules: they are cheap on day one and nearly impossible later."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

from tests.backends import REPOSITORY

MODULE_LINES_MAX = 500
FORBIDDEN_NAMES = frozenset({"utils", "helpers", "common", "core", "manager"})
# Spelled apart, so that this file does not contain what it looks for.
MACHINE_PATHS = tuple(f"/{folder}/" for folder in ("work", "root", "tmp"))
# A machine path begins a path: "orders/work/x" and "https://example.com/root/" are none.
MACHINE_PATH = re.compile(rf"(?<![\w.~$}}\]-])(?:{'|'.join(MACHINE_PATHS)})")
DECISION_NAME = re.compile(r"\d{4}-[a-z0-9-]+\.md")


def repository_files(*folders: str) -> list[Path]:
    """Files git tracks or would track below ``folders``; all files where there is no git."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *folders],
        cwd=REPOSITORY,
        check=False,
        capture_output=True,
        text=True,
    )
    if listed.returncode == 0:
        paths = [REPOSITORY / name for name in listed.stdout.split("\0") if name]
    else:
        roots = [REPOSITORY / folder for folder in folders]
        paths = [path for root in roots for path in ([root] if root.is_file() else root.rglob("*"))]
    return sorted(path for path in paths if path.is_file() and "__pycache__" not in path.parts)


def names(paths: list[Path]) -> list[str]:
    """Paths from the repository root, for a readable failure."""
    return [path.relative_to(REPOSITORY).as_posix() for path in paths]


MODULES = [path for path in repository_files("src") if path.suffix == ".py"]


def test_there_are_modules_to_check():
    assert "src/eventcore/__init__.py" in names(MODULES)


def test_every_module_fits_in_one_sitting():
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}

    assert names([path for path in MODULES if lengths[path] > MODULE_LINES_MAX]) == []


def test_no_module_or_package_is_named_after_nothing():
    nameless = [
        path
        for path in MODULES
        if FORBIDDEN_NAMES & {path.stem, *path.relative_to(REPOSITORY / "src").parts[:-1]}
    ]

    assert names(nameless) == []


def test_every_module_says_what_it_is_for():
    silent = [path for path in MODULES if not ast.get_docstring(ast.parse(path.read_text("utf-8")))]

    assert names(silent) == []


def test_no_published_file_names_a_folder_of_one_machine():
    found = []
    published = ("src", "docs", "examples", "benchmarks", "README.md", "CONTRIBUTING.md")
    for path in repository_files(*published):
        for number, line in enumerate(path.read_bytes().decode("utf-8", "replace").split("\n"), 1):
            if MACHINE_PATH.search(line):
                found.append(f"{path.relative_to(REPOSITORY)}:{number}: {line.strip()[:80]}")

    assert found == []


@pytest.mark.parametrize(
    ("line", "is_machine_path"),
    [
        (f'open("{MACHINE_PATHS[0]}data.csv")', True),
        (f"cd {MACHINE_PATHS[1]}project", True),
        (f"sqlite://{MACHINE_PATHS[2]}shop.db", True),
        (f"orders{MACHINE_PATHS[0]}2026", False),
        (f"https://example.com{MACHINE_PATHS[1]}page", False),
        ("read and/or write; on-the-work floor", False),
    ],
)
def test_a_machine_path_is_recognised(line, is_machine_path):
    assert bool(MACHINE_PATH.search(line)) is is_machine_path


def test_every_decision_is_numbered_and_no_number_is_used_twice():
    files = repository_files("docs/decisions")
    decisions = [path.name for path in files if path.name != "index.md"]

    assert [name for name in decisions if not DECISION_NAME.fullmatch(name)] == []
    assert len({name[:4] for name in decisions}) == len(decisions)


def test_the_package_says_that_it_is_typed():
    assert (REPOSITORY / "src/eventcore/py.typed").is_file()


def test_the_lock_names_the_public_index_only():
    lock = (REPOSITORY / "uv.lock").read_text(encoding="utf-8")

    assert set(re.findall(r'registry = "([^"]+)"', lock)) == {"https://pypi.org/simple"}
    assert set(re.findall(r'url = "(https?://[^/]+)/', lock)) == {"https://files.pythonhosted.org"}
