"""Fingerprints of projections: which tables and handlers made rows, so that no others add to them.

What counts is what decides the rows: columns, keys, groups, indexes and time to live of the tables;
the source of the class and of what it refers to in its own package (functions, classes, constants),
followed by name. Docstrings, comments, annotations and layout do not count. The syntax is written
in a form of our own, which is the same in every version of Python.
"""

from __future__ import annotations

import ast
import enum
import functools
import hashlib
import inspect
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from operator import attrgetter, itemgetter, methodcaller
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final, TypeGuard

from eventcore.errors import ConfigurationError, DefinitionChangedError
from eventcore.events.event import DomainEvent
from eventcore.projections.projection import Projection
from eventcore.projections.tables import AnyTable, Table
from eventcore.projections.transactions import Checkpoint

DIGEST_BYTES: Final = 16

_FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)
_NAMED: Final = (*_FUNCTIONS, ast.ClassDef)
_LEFT_OUT: Final = frozenset(
    {"ctx", "kind", "type_comment", "annotation", "returns", "type_params", "type_ignores"}
)
"""Fields of syntax nodes that decide nothing, or that only some versions of Python have."""

_LIBRARY: Final = "eventcore"

_PLAIN: Final = (str, bytes, int, float, complex, bool, Decimal, date, time, timedelta)


def fingerprint_of(projection: Projection) -> str:
    """Of a projection's tables and handlers, or the one its class names: same text, same rows."""
    cls = type(projection)
    named = vars(cls).get("fingerprint")
    return str(named) if named else derived_fingerprint(cls)


def is_other_definition(
    checkpoint: Checkpoint | None, projection: Projection, fingerprint: str | None
) -> TypeGuard[Checkpoint]:
    """Whether rows were made by another version or definition of the projection.

    Args:
        checkpoint: Of the rows; None if there are none.
        projection: As it is now.
        fingerprint: Of the definition that made them; None if that is not known.
    """
    if checkpoint is None:
        return False
    return checkpoint.version != projection.version or (
        fingerprint is not None and fingerprint != fingerprint_of(projection)
    )


def check_definition(
    projection: Projection, checkpoint: Checkpoint, fingerprint: str | None, *, database: str
) -> None:
    """Refuse rows that another definition of the projection made.

    Raises:
        DefinitionChangedError: Another did; the message says what changed and what to do.
    """
    if not is_other_definition(checkpoint, projection, fingerprint):
        return
    name, built = projection.name, checkpoint.version
    what = (
        f"by its version {built}, this code is version {projection.version}"
        if built != projection.version
        else "by other handlers or tables than this code has"
    )
    raise DefinitionChangedError(projection=name, database=database, what=what)


def check_acceptable(
    projection: Projection,
    checkpoint: Checkpoint | None,
    absent: Sequence[AnyTable],
    *,
    database: str,
) -> None:
    """Refuse to take rows as made by a definition that cannot have made them.

    Raises:
        ConfigurationError: It was never kept there, or has a table that is not there.
    """
    name = projection.name
    if checkpoint is None:
        raise ConfigurationError(message=f"Projection {name} is not kept in {database}")
    if absent:
        tables = ", ".join(table.name for table in absent)
        raise ConfigurationError(
            message=f"Projection {name} has no table {tables} in {database} yet: rebuild it: "
            f"eventcore projections rebuild {name}"
        )


_known: Final[dict[type[Projection], str]] = {}


def derived_fingerprint(cls: type[Projection]) -> str:
    """Of what a class is made of, whatever it names itself."""
    if cls not in _known:
        _known[cls] = _digest(cls)
    return _known[cls]


def _digest(cls: type[Projection]) -> str:
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for part in _parts(cls):
        digest.update(part.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()


def _parts(cls: type[Projection]) -> Iterator[str]:
    for table in sorted(cls.tables, key=lambda one: one.name):
        yield from describe_table(table)
    if cls.takes_pages():
        yield f"listens {sorted(one.__name__ for one in cls.listens)}"
    followed = _Followed(cls.__module__.partition(".")[0])
    for base in reversed(cls.__mro__):
        named = vars(base).get("fingerprint")
        if base is not cls and named:
            yield f"base {base.__name__} {named}"
        elif issubclass(base, Projection) and base is not Projection:
            yield from followed.of_class(base)
        elif base not in {Projection, object}:
            yield from followed.of(base)


def describe_table(table: AnyTable) -> Iterator[str]:
    """Everything declared of a table that decides what is kept."""
    yield f"table {table.name} key {table.key} group {table.group}"
    for column in table.columns:
        yield (
            f"column {column.name} {column.kind.value} {column.optional} {column.choices} "
            f"{column.minimum} "
            f"{column.digits and (column.digits.whole, column.digits.places)}"
        )
    for index in table.indexes:
        yield f"index {tuple(index.columns)} {index.present}"
    yield f"ttl {table.ttl_days} {table.ttl_column}"


class _Followed:
    """Describes objects and what they refer to in one package, each once.

    Args:
        package: The outermost package of the projection's module.
    """

    def __init__(self, package: str) -> None:
        self._package = package
        self._seen: set[int] = set()

    def of_class(self, cls: type) -> Iterator[str]:
        """A class by its source; by its methods' code if there is none."""
        if id(cls) in self._seen:
            return
        self._seen.add(id(cls))
        node, functions = _source_of_class(cls), _own_functions(cls)
        if node is None:
            yield f"class {cls.__name__}"
            for function in functions:
                yield from self._of_function(function)
            return
        yield f"class {cls.__name__} {_written(node)}"
        names: dict[str, Any] = dict(vars(sys.modules.get(cls.__module__, ast)))
        for function in functions:
            names.update(_closure(function))
        yield from self._of_names(node, names)

    def of(self, value: Any) -> Iterator[str]:
        """Anything a handler's code refers to, as far as it decides rows."""
        function = _function(value)
        if function is not None:
            if self._is_ours(function):
                yield from self._of_function(function)
        elif isinstance(value, enum.EnumType):
            members: dict[str, Any] = dict(value.__members__)
            yield f"enum {value.__name__} {[(n, _constant(members[n].value)) for n in members]}"
        elif isinstance(value, type):
            # How an event is read is the business of its own version.
            if self._is_ours(value) and not issubclass(value, DomainEvent):
                yield from self.of_class(value)
        elif (constant := _constant(value)) is not None:
            yield f"constant {constant}"

    def _is_ours(self, value: Any) -> bool:
        module = getattr(value, "__module__", None) or ""
        if module.partition(".")[0] != self._package:
            return False
        # The library's own read models do not change because its machinery does.
        return self._package != _LIBRARY or module.startswith(f"{_LIBRARY}.projections.read_models")

    def _of_function(self, function: FunctionType) -> Iterator[str]:
        if id(function) in self._seen:
            return
        self._seen.add(id(function))
        node = _source_of_function(function)
        if node is None:
            yield from _code(function.__code__)
            names = _code_names(function.__code__)
            found = {n: function.__globals__[n] for n in names if n in function.__globals__}
            for name in sorted(found):
                yield f"name {name}"
                yield from self.of(found[name])
            return
        yield f"function {function.__name__} {_written(node)}"
        yield from self._of_names(node, {**function.__globals__, **_closure(function)})

    def _of_names(self, node: ast.AST, names: Mapping[str, Any]) -> Iterator[str]:
        for path in sorted(_loaded(node)):
            name, *attributes = path
            if name not in names:
                continue
            value = names[name]
            for attribute in attributes:
                if not isinstance(value, ModuleType) or not hasattr(value, attribute):
                    break
                value = getattr(value, attribute)
            if isinstance(value, ModuleType | Table):
                continue
            described = list(self.of(value))
            if described:
                yield f"name {'.'.join(path)}"
                yield from described


def _function(value: Any) -> FunctionType | None:
    value = getattr(value, "fget", value)  # a property
    value = getattr(value, "func", value)  # a cached property or a partial
    value = getattr(value, "__func__", value)  # a class or static method
    if isinstance(value, FunctionType):
        found = inspect.unwrap(value)
        return found if isinstance(found, FunctionType) else value
    wrapped = getattr(value, "__wrapped__", None)  # functools.cache
    return wrapped if isinstance(wrapped, FunctionType) else None


def _closure(function: FunctionType) -> dict[str, Any]:
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:
            continue  # not bound yet
    return found


def _constant(value: Any) -> str | None:
    """A value in a form of its own that is the same in every process; None if it has none."""
    if isinstance(value, enum.Enum):
        return f"{type(value).__name__}.{value.name}"
    if isinstance(value, re.Pattern):
        return f"pattern {value.pattern!r} {value.flags}"
    if value is None or isinstance(value, _PLAIN):
        return f"{type(value).__name__} {value!r}"
    return _collection(value)


def _collection(value: Any) -> str | None:
    match value:
        case set() | frozenset():
            items = sorted(_constant(one) or "?" for one in value)
            return f"set {items}"
        case tuple() | list():
            return f"{type(value).__name__} {[_constant(one) for one in value]}"
        case Mapping():
            pairs = [(_constant(key), _constant(item)) for key, item in value.items()]
            return f"mapping {sorted(pairs, key=repr)}"
        case attrgetter() | itemgetter() | methodcaller():
            return repr(value)
        case _:
            return None


@functools.lru_cache(maxsize=256)
def _parsed(file: str) -> ast.Module | None:
    try:
        with open(file, "rb") as source:  # noqa: PTH123 - a path as the interpreter has it
            return ast.parse(source.read())
    except (OSError, SyntaxError, ValueError):
        return None


def _nodes(file: str, name: str) -> list[Any]:
    tree = _parsed(file)
    if tree is None:
        return []
    found = [node for node in ast.walk(tree) if isinstance(node, _NAMED) and node.name == name]
    return sorted(found, key=_first_line)


def _first_line(node: Any) -> int:
    return min(int(one.lineno) for one in (node, *node.decorator_list))


def _own_functions(cls: type) -> list[FunctionType]:
    """Written in the class's own body, not made by a decorator or inherited."""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    found = [f for f in map(_function, vars(cls).values()) if f is not None]
    return [
        f
        for f in found
        if f.__qualname__.startswith(f"{cls.__qualname__}.")
        and (file is None or f.__code__.co_filename == file)
    ]


def _source_of_class(cls: type) -> ast.ClassDef | None:
    own = _own_functions(cls)
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    if own:
        file = own[0].__code__.co_filename
    nodes = [node for node in _nodes(file or "", cls.__name__) if isinstance(node, ast.ClassDef)]
    for function in own:
        line = function.__code__.co_firstlineno
        inside = [one for one in nodes if _first_line(one) <= line <= (one.end_lineno or 0)]
        if inside:
            return inside[-1]
    return nodes[-1] if nodes and not own else None


def _source_of_function(function: FunctionType) -> ast.AST | None:
    code = function.__code__
    for node in _nodes(code.co_filename, function.__name__):
        if isinstance(node, _FUNCTIONS) and _first_line(node) == code.co_firstlineno:
            return node
    if function.__name__ != "<lambda>":
        return None
    tree = _parsed(code.co_filename)
    lambdas = [
        node
        for node in ast.walk(tree or ast.Module([], []))
        if isinstance(node, ast.Lambda) and node.lineno == code.co_firstlineno
    ]
    return lambdas[0] if len(lambdas) == 1 else None


def _loaded(node: ast.AST) -> set[tuple[str, ...]]:
    """Names that code reads, with the attributes behind them."""
    found: set[tuple[str, ...]] = set()
    for met in _meaningful(node):
        one: Any = met
        path: list[str] = []
        while isinstance(one, ast.Attribute):
            path.insert(0, one.attr)
            one = one.value
        if isinstance(one, ast.Name):
            found.add((one.id, *path))
    # Of `a.b.c` also `a.b` and `a` were met, as parts of it.
    return {path for path in found if not any(p[: len(path)] == path != p for p in found)}


def _meaningful(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for _, value in _fields(node):
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _meaningful(child)


def _fields(node: ast.AST) -> Iterator[tuple[str, Any]]:
    for name, value in ast.iter_fields(node):
        if name in _LEFT_OUT or value is None or value == []:
            continue
        has_docstring = name == "body" and isinstance(node, _NAMED)
        yield name, _without_docstring(value) if has_docstring else value


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    match body:
        case [ast.Expr(value=ast.Constant(value=str())), *rest]:
            return rest
        case _:
            return body


def _written(node: Any) -> str:
    match node:
        case ast.AnnAssign(value=None):
            # A field of a row: that it is there is told by the table.
            return f"AnnAssign({_written(node.target)})"
        case ast.AST():
            fields = ",".join(f"{name}={_written(value)}" for name, value in _fields(node))
            return f"{type(node).__name__}({fields})"
        case list():
            return f"[{','.join(map(_written, node))}]"
        case _:
            return f"{type(node).__name__}:{node!r}"


def _code(code: CodeType) -> Iterator[str]:
    yield f"code {code.co_code.hex()} {code.co_names} {code.co_varnames}"
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code(constant)
        else:
            yield f"const {_constant(constant)}"


def _code_names(code: CodeType) -> set[str]:
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*map(_code_names, inner))
