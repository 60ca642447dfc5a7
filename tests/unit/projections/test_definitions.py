"""Fingerprints: which changes of a projection count, and which do not."""

import importlib.util
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import pytest

from eventcore.projections import built_in_projections
from eventcore.projections.definitions import derived_fingerprint, fingerprint_of

BASE = '''
"""A shop's projection."""
from decimal import Decimal
from typing import Any, NamedTuple

from eventcore.events.catalogue import OrderCreated
from eventcore.projections import Index, Projection, Table, on

LEAST = Decimal(10)


def is_large(event: Any) -> bool:
    """Whether an order counts."""
    return event.payload.total_amount >= LEAST


class Row(NamedTuple):
    """What is kept."""

    user_id: str
    orders: int = 0


ROWS = Table("rows", Row, key=["user_id"])


class Large(Projection):
    """Counts large orders."""

    name = "large"
    tables = (ROWS,)

    @on(OrderCreated, key=lambda event: event.payload.user_id)
    def ordered(self, row: Row | None, event: Any) -> Row | None:
        """Count it."""
        if not is_large(event):
            return row
        return Row(event.payload.user_id, (row.orders if row else 0) + 1)
'''

numbers = iter(range(10**6))


def module_of(source: str, folder: Path) -> ModuleType:
    name = f"fingerprinted_{next(numbers)}"
    file = folder / f"{name}.py"
    file.write_text(source)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def fingerprint(source: str, folder: Path) -> str:
    return fingerprint_of(module_of(source, folder).Large())


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"""Count it."""', '"""Count the order, once."""'),
        ('"""Whether an order counts."""', ""),
        ('"""Counts large orders."""', '"""Other words."""'),
        ("        if not is_large", "        # A remark.\n\n        if not is_large"),
        ("event: Any) -> Row | None:", "event: object) -> Any:"),
        ('"""A shop\'s projection."""', "import json\n"),
        (
            "return event.payload.total_amount >= LEAST",
            "return (event.payload.total_amount>=LEAST)",
        ),
    ],
)
def test_what_decides_no_row_does_not_count(tmp_path, before, after):
    assert before in BASE

    assert fingerprint(BASE.replace(before, after), tmp_path) == fingerprint(BASE, tmp_path)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("else 0) + 1", "else 0) + 2"),
        (">= LEAST", "> LEAST"),
        ("LEAST = Decimal(10)", "LEAST = Decimal(11)"),
        ("key=lambda event: event.payload.user_id", "key=lambda event: event.stream"),
        ("orders: int = 0", "orders: int = 1"),
        ("orders: int = 0", "orders: int | None = 0"),
        ('key=["user_id"])', 'key=["user_id"], indexes=[Index.on("orders")])'),
        ('    name = "large"', '    name = "large"\n    version = 2'),
    ],
)
def test_what_decides_rows_counts(tmp_path, before, after):
    assert before in BASE

    assert fingerprint(BASE.replace(before, after), tmp_path) != fingerprint(BASE, tmp_path)


def test_a_named_fingerprint_stands_for_the_source_of_its_own_class_alone(tmp_path):
    named = BASE.replace('    name = "large"', '    name = "large"\n    fingerprint = "one"')
    changed = named.replace("+ 1", "+ 2")
    below = named + "\n\nclass Larger(Large):\n    name = 'larger'\n"

    assert fingerprint(named, tmp_path) == fingerprint(changed, tmp_path) == "one"
    assert fingerprint_of(module_of(below, tmp_path).Larger()) != "one"


def test_without_its_source_the_code_counts(tmp_path):
    first, again, other = (module_of(BASE, tmp_path) for _ in range(3))
    for module in (first, again, other):
        Path(str(module.__file__)).unlink()
    other.is_large.__code__ = compile(  # other code, as another deployed version has
        "def is_large(event):\n    return True", "x", "exec"
    ).co_consts[0]

    assert fingerprint_of(first.Large()) == fingerprint_of(again.Large())
    assert fingerprint_of(other.Large()) != fingerprint_of(first.Large())


def test_it_is_the_same_in_every_process(tmp_path):
    module = module_of(BASE + "\nKINDS = frozenset({'a', 'b', 'c', 'd'})\n", tmp_path)
    script = textwrap.dedent(
        f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        import {module.__name__} as module
        from eventcore.projections.definitions import fingerprint_of
        print(fingerprint_of(module.Large()))
        """
    )

    found = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in (1, 2)
    }

    assert found == {fingerprint_of(module.Large())}


DERIVED: dict[str, str] = {
    "users": "3c9e2f6f57f19a3f2b8473b477ffe163",
    "user_sessions": "8dc45baf67b45061ed5286da233a5909",
    "orders": "9a46b6acecc9d46cd8c5d4faad9de4f7",
    "order_items": "60af5cda7a81336ff7e7bd19fff9132a",
    "ml_models": "40c6c39332f2c6de49574def6377dca9",
    "events": "9a34a599d9cf8f5453f52e1936762558",
    "user_events": "bfed703776e8f13c33ea450298b649a2",
    "analytics": "21fb2f590497efd2eea277354732dda5",
}


def test_who_changes_a_built_in_read_model_raises_its_fingerprint():
    """Not equal? If the same events now make other rows, raise ``fingerprint`` (and the version) of
    the class, so that the rows kept by those who update are rebuilt. Then copy what was found."""
    found = {one.name: derived_fingerprint(type(one)) for one in built_in_projections()}

    assert found == DERIVED
    assert {fingerprint_of(one) for one in built_in_projections()} == {"1"}
