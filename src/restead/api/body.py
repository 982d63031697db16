"""A request's body: read up to its limit, taken apart, and checked against a shape."""

import json
import math
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from restead.domain.errors import InvalidRequest

LARGEST_BODY = 2**20  # bytes; CSBS, requests: "A body over 1 MiB: 413"
_DEEPEST = 100  # levels: what is kept as it was sent is written again by code that recurses

Shape = TypeVar("Shape", bound=BaseModel)


def refuse_large(request: Request) -> None:
    """Return unless the request says that its body is over the limit.  Raises HTTPException 413."""
    announced = request.headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and (len(announced) > 18 or int(announced) > LARGEST_BODY):
        _too_large(f"{announced[:32]} bytes")


async def read_body(request: Request) -> bytes:
    """Return the whole body, however it was sent.  Raises HTTPException 413 as soon as it is over the limit."""
    parts, size = [], 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > LARGEST_BODY:
                _too_large(f"at least {size} bytes")
            parts.append(part)
    except ClientDisconnect as error:
        raise InvalidRequest(f"the connection ended after {size} bytes of the body") from error
    return b"".join(parts)


def _too_large(size: str) -> NoReturn:
    raise HTTPException(413, f"the body has {size}, {LARGEST_BODY} are allowed")


def parse(shape: type[Shape], body: bytes) -> Shape:
    """Return the body as that shape.

    Raises:
        InvalidRequest: naming the member, what was found and what is asked for.
    """
    value = _json(body)
    _check_depth(value)
    if not isinstance(value, dict):
        raise InvalidRequest(f"the body is {_kind(value)}, an object is asked for")
    try:
        return shape.model_validate(value)
    except ValidationError as error:
        raise InvalidRequest(_sentence(error.errors(include_url=False)[0])) from error


def _json(body: bytes) -> Any:
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_no_constant, parse_float=_number)
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"the body is not UTF-8: byte {error.start} of {len(body)}") from error
    except RecursionError as error:
        raise InvalidRequest("the body is nested too deeply") from error
    except json.JSONDecodeError as error:
        raise InvalidRequest(f"the body is not JSON: {error.msg.lower()} at character {error.pos}") from error
    except ValueError as error:  # an integer of more digits than the interpreter converts
        raise InvalidRequest("the body holds a number of too many digits") from error


def _no_constant(name: str) -> NoReturn:
    raise InvalidRequest(f"the body is not JSON: {name} is no JSON value")


def _number(text: str) -> float:
    """What is beyond all floats would be infinite, which is no JSON and could not be told again."""
    number = float(text)
    if math.isinf(number):
        raise InvalidRequest(f"the body holds a number that is too large: {text[:32]}")
    return number


def _check_depth(value: Any) -> None:
    level, depth = [value], 0
    while level := [inner for each in level if isinstance(each, dict | list) for inner in _members(each)]:
        depth += 1
        if depth > _DEEPEST:
            raise InvalidRequest(f"the body is nested too deeply: more than {_DEEPEST} levels")


def _members(value: dict[str, Any] | list[Any]) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value


def _sentence(error: ErrorDetails) -> str:
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]).lstrip(".")
    value = error["input"]
    if error["type"] == "missing" or (value is None and error["type"] != "value_error"):
        return f"{where}: is mandatory and missing"
    wanted = error["msg"][:1].lower() + error["msg"][1:]
    if error["type"] in ("model_type", "dict_type"):
        wanted = "an object is asked for"
    shown = repr(value)[:64] if isinstance(value, str | int | float) else _kind(value)
    return f"{where}: {wanted}; found {shown}"


def _kind(value: object) -> str:
    if value is None:
        return "null"
    names = {dict: "an object", list: "a list", str: "text", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "something else")
