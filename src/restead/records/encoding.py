"""Domain dataclasses as JSON values and back, by their type annotations."""

import types
import typing
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from functools import cache
from typing import Any, TypeVar

from restead.domain.errors import Damaged

Thing = TypeVar("Thing")


def plain(value: object) -> Any:
    """Return *value* as JSON can hold it: dataclasses become objects, tuples lists, enums their values."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    assert value is None or isinstance(value, str | int | float | bool), f"no JSON for {type(value).__name__}"
    return value


def build(kind: type[Thing], data: Any) -> Thing:
    """Return the dataclass *kind* that `plain` made *data* of.

    A member that *data* lacks takes its default, so rows of an older release still read.

    Raises:
        Damaged: *data* is nothing that `plain` makes of a *kind*.
    """
    try:
        return _build(kind, data)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Damaged(f"a row of the records holds no {kind.__name__}", detail=str(error)) from error


def known(kind: type, data: Any) -> dict[str, Any]:
    """Return those members of *data* that a *kind* has: a newer release may have written more."""
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in data.items() if name in names}


def _build(kind: type[Thing], data: Any) -> Thing:
    hints = _hints(typing.cast(Any, kind))
    return kind(**{name: _value(hints[name], item) for name, item in data.items()})


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _value(hint: Any, data: Any) -> Any:
    if data is None:
        return None
    hint = getattr(hint, "__supertype__", hint)  # a NewType is its text
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return _union(arguments, data)
    if origin is tuple:
        kinds = arguments[:1] * len(data) if arguments[1:] == (...,) else arguments
        return tuple(_value(kind, item) for kind, item in zip(kinds, data, strict=True))
    if is_dataclass(hint):
        return _build(typing.cast(type, hint), data)
    if hint is datetime:
        return datetime.fromisoformat(data)
    return hint(data) if isinstance(hint, type) and issubclass(hint, Enum) else data


def _union(arguments: tuple[Any, ...], data: Any) -> Any:
    real = [argument for argument in arguments if argument is not type(None)]
    return _value(real[0], data) if len(real) == 1 else data  # bool | str needs no help
