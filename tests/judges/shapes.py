"""The exact shape of an answer: members, types and forms, as the published description has them."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}")  # six digits, no Z, no offset


class Choice(tuple[Any, ...]):
    """One of these shapes."""


class ListOf:
    def __init__(self, entry: Any) -> None:
        self.entry = entry


def differences(shape: Any, value: Any, where: str = "body") -> Sequence[str]:
    """Return what is not as *shape* says: a type, a pattern, a literal, a Choice, a ListOf, or a mapping of members."""
    if isinstance(shape, Choice):
        found = [differences(one, value, where) for one in shape]
        return [] if any(not each for each in found) else found[0]
    if isinstance(shape, type):
        return [] if type(value) is shape else [f"{where} is {value!r}, not {shape.__name__}"]
    if isinstance(shape, re.Pattern):
        fits = isinstance(value, str) and shape.fullmatch(value)
        return [] if fits else [f"{where} is {value!r}, not of the form {shape.pattern}"]
    if isinstance(shape, ListOf):
        if type(value) is not list:
            return [f"{where} is {value!r}, not a list"]
        return [text for at, each in enumerate(value) for text in differences(shape.entry, each, f"{where}[{at}]")]
    if isinstance(shape, Mapping):
        return _differences_of_members(shape, value, where)
    return [] if type(value) is type(shape) and value == shape else [f"{where} is {value!r}, not {shape!r}"]


def _differences_of_members(shape: Mapping[str, Any], value: Any, where: str) -> Sequence[str]:
    if type(value) is not dict:
        return [f"{where} is {value!r}, not an object"]
    missing = [f"{where} has no {name}" for name in shape if name not in value]
    surplus = [f"{where} has {name} as well" for name in value if name not in shape]
    within = [
        text
        for name, inner in shape.items()
        if name in value
        for text in differences(inner, value[name], f"{where}.{name}")
    ]
    return [*missing, *surplus, *within]
