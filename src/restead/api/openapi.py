"""The OpenAPI 3.1 document: what each route says about itself, put together into one page.

Schemas come from the shapes of requests and the typed dictionaries that the views return, so that the
document and the code cannot disagree; examples stand in `examples*.json` under their operation's id.
"""

import json
from collections.abc import Collection, Iterable, Sequence
from importlib.resources import files
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter
from starlette.responses import Response

from restead.api.answers import ErrorBody, Json
from restead.domain.errors import Code

Part = dict[str, Any]  # a part of the document

MEANING: dict[Code, tuple[int, str]] = {
    Code.TOO_MANY_POLICIES: (400, "too many policies in the project"),
    Code.MANUAL_RUN_UNDER_WAY: (400, "a manual run of the policy is under way"),
    Code.IN_PROGRESS: (400, "the backup or task is being worked on"),
    Code.POLICY_NOT_FOUND: (404, "no such policy"),
    Code.BACKUP_NOT_FOUND: (404, "no such backup or backup record"),
    Code.NOT_RESTORABLE: (400, "the backup's state does not allow a restore"),
    Code.SERVER_NOT_FOUND: (400, "no such server"),
    Code.SERVER_BEING_DESTROYED: (400, "the server is being destroyed"),
    Code.TYPE_NOT_PROTECTABLE: (400, "this type of resource cannot be backed up"),
    Code.SERVER_BOUND_ELSEWHERE: (400, "the server is bound to another policy"),
    Code.SERVER_STATE_FORBIDS_BACKUP: (400, "the server's state does not allow a backup"),
    Code.SERVER_KIND_NOT_PROTECTABLE: (400, "this kind of server cannot be backed up"),
    Code.NO_DISK_TO_BACK_UP: (400, "the server has no disk to back up"),
    Code.SHARED_DISK: (400, "the server has a shared disk and those are not backed up here"),
    Code.TYPE_NOT_RESTORABLE: (400, "this type of resource cannot be restored"),
    Code.VOLUME_NOT_ATTACHED: (400, "a target disk is not attached to the target server"),
    Code.SERVER_STATE_FORBIDS_RESTORE: (400, "the target server's state does not allow a restore, or one is under way"),
    Code.SERVER_KIND_NOT_RESTORABLE: (400, "this kind of server cannot be restored, stopped or started from here"),
    Code.VOLUME_BACKUP_NOT_IN_BACKUP: (400, "a disk backup is not in the backup"),
    Code.VOLUME_BACKUP_NOT_MAPPED: (400, "not every disk backup is mapped"),
    Code.DIFFERENT_KINDS: (400, "source and target server are of different kinds"),
    Code.SERVER_WITHOUT_DISK: (400, "the target server has no disk"),
    Code.TARGET_SHAREABLE: (400, "a target disk is shareable"),
    Code.DATA_TO_SYSTEM_DISK: (400, "a data disk's backup is mapped to the system disk"),
    Code.TARGET_TOO_SMALL: (400, "a target disk is too small"),
    Code.ZONES_DO_NOT_MATCH: (400, "backup and target server are in zones that do not go together"),
    Code.SCHEDULED_RUN_UNDER_WAY: (400, "a scheduled run of the policy is under way"),
    Code.POLICY_WITHOUT_SERVER: (400, "the policy has no server to back up"),
    Code.TASK_NOT_FOUND: (404, "no such task or restore"),
    Code.TOO_MANY_TAGS: (400, "too many tags"),
    Code.TAG_NOT_FOUND: (404, "no such tag"),
    Code.WRONG_PARAMETER: (400, "a parameter is wrong; the message names it"),
    Code.QUOTA_EXCEEDED: (400, "quota exceeded"),
    Code.POLICY_NAME_IN_USE: (400, "the policy name is in use"),
    Code.UNAVAILABLE: (503, "a part of the service cannot be reached; Retry-After says when to try again"),
    Code.INTERNAL: (500, "internal error, or stored bytes are damaged"),
    Code.UNAUTHENTICATED: (401, "the token is missing, unknown, expired or revoked"),
    Code.FORBIDDEN: (403, "the token's project or role does not allow the call"),
    Code.NO_SUCH_PATH: (404, "no such path, or no such server in it"),
    Code.METHOD_NOT_ALLOWED: (405, "the method is not known on this path; Allow lists those that are"),
    Code.BODY_TOO_LARGE: (413, "the body is over 1 MiB"),
}

_EVERYWHERE = (Code.WRONG_PARAMETER, Code.UNAUTHENTICATED, Code.FORBIDDEN, Code.BODY_TOO_LARGE, Code.INTERNAL,
               Code.UNAVAILABLE)  # fmt: skip
_EVENTS = "text/event-stream"  # its schema is that of the data of each event
_REFS = "#/components/schemas/{model}"
_REQUEST_ID = {"X-Openstack-Request-Id": {"$ref": "#/components/headers/RequestId"}}
_ERROR = {"$ref": "#/components/schemas/ErrorBody"}


def documented(
    operation_id: str,
    summary: str,
    *,
    answers: type | None = None,
    asks: type | None = None,
    streams: bool = False,
    codes: Iterable[Code] = (),
    parameters: Sequence[Part] = (),
    status: int = 200,
    public: bool = False,
    unsupported: bool = False,
) -> dict[str, Any]:
    """Return the arguments of a route's decorator that say what it does.

    *answers*: the typed dictionary of its success, None if that has no body; *asks*: the shape of its body;
    *streams*: its success is many of them, one after the other, as server-sent events; *codes*: those it can fail
    with besides the ones every call can; *public*: needs no token; *unsupported*: never succeeds.
    """
    extra: Part = {"responses": _failures(set(codes) | set(() if public else _EVERYWHERE))}
    if unsupported:
        extra["responses"]["500"]["description"] += f"\n\n`{Code.UNAVAILABLE.value}`: this function is not supported."
    else:
        extra["responses"][str(status)] = {"description": "As asked.", "headers": _REQUEST_ID}
    if answers is not None:
        kind = _EVENTS if streams else "application/json"
        extra["responses"][str(status)]["content"] = {kind: {"schema": _schema(answers, "serialization")}}
    if asks is not None:
        content = {"application/json": {"schema": _schema(asks, "validation")}}
        extra["requestBody"] = {"required": True, "content": content}
    if parameters:
        extra["parameters"] = list(parameters)
    return {
        "operation_id": operation_id,
        "summary": summary,
        "response_class": Response if streams else Json,
        "response_model": None,
        "status_code": 500 if unsupported else status,
        "openapi_extra": extra,
    }


def parameter(name: str, description: str, schema: Part | None = None, *, repeated: bool = False) -> Part:
    """Return a query parameter that may be left out."""
    found: Part = {"name": name, "in": "query", "required": False, "description": description}
    one = schema or {"type": "string", "pattern": r"^[^\x00]*$"}
    if repeated:
        return found | {"schema": {"type": "array", "items": one}, "style": "form", "explode": True}
    return found | {"schema": one}


def choice(name: str, description: str, words: Collection[str]) -> Part:
    """Return a query parameter that is one of *words*."""
    return parameter(name, description, {"type": "string", "enum": list(words)})


def moment_parameter(name: str, description: str) -> Part:
    return parameter(name, description, {"type": "string", "format": "csbs-time", "examples": ["2026-03-02T10:15:30"]})


def paging(keys: Collection[str]) -> list[Part]:
    """Return the parameters that every list has; *keys* are those it can be sorted by."""
    one = f"({'|'.join(keys)})(:(asc|desc))?"
    return [
        parameter("limit", "Page size; more than 1000 is cut to 1000.", {"type": "integer", "minimum": 1}),
        parameter("marker", "Id of the last entry of the page before."),
        parameter("offset", "Entries to skip, after the marker.", {"type": "integer", "minimum": 0}),
        parameter(
            "sort",
            "key[:direction] and more of them after commas; created_at:desc if absent.",
            {"type": "string", "pattern": f"^{one}(,{one})*$", "maxLength": 255},
        ),
        all_tenants(),
    ]


def all_tenants() -> Part:
    flag = {"anyOf": [{"type": "boolean"}, {"type": "integer", "enum": [0, 1]}]}
    return parameter("all_tenants", "true, or 1: of all projects; for administrators only.", flag)


def _failures(codes: Collection[Code]) -> Part:
    """Return what each status of these codes means."""
    by_status: dict[int, list[str]] = {}
    for code, (status, meaning) in MEANING.items():
        if code in codes:
            by_status.setdefault(status, []).append(f"`{code.value}`: {meaning}")
    return {str(status): _failure(status, meanings) for status, meanings in by_status.items()}


def _failure(status: int, meanings: list[str]) -> Part:
    headers: Part = dict(_REQUEST_ID)
    if status == 503:
        headers["Retry-After"] = {"description": "Seconds.", "schema": {"type": "string", "pattern": "^[0-9]+$"}}
    return {
        "description": ".\n\n".join(meanings) + ".",
        "headers": headers,
        "content": {"application/json": {"schema": _ERROR}},
    }


def _schema(shape: type, mode: Any) -> Part:
    """Return a reference to the shape's schema, together with the definitions it needs."""
    references, definitions = TypeAdapter.json_schemas([("it", mode, TypeAdapter(shape))], ref_template=_REFS)
    return {**references["it", mode], "$defs": definitions.get("$defs", {})}


def read_examples() -> Part:
    """Return the published requests and answers, by operation."""
    found: Part = {}
    for name in ("examples.json", "examples_regular.json", "examples_notices.json"):
        found |= json.loads(files("restead.api").joinpath(name).read_text("utf-8"))
    return found


def document(app: FastAPI) -> Part:
    """Return the whole document."""
    page = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        openapi_version="3.1.0",
        routes=app.routes,
        servers=[{"url": "/"}],
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    schemas: Part = {}
    examples = read_examples()
    for operations in page["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)  # FastAPI's own; what is not valid is 400 here
            _gather(operation, examples.get(operation["operationId"], {}), schemas)
    schemas.update(_schema(ErrorBody, "serialization")["$defs"])
    schemas["ErrorBody"]["examples"] = [examples["error"]]
    components = page.setdefault("components", {})
    components["schemas"] = dict(sorted(schemas.items()))
    components["headers"] = {"RequestId": {"description": "Id of the request, as in the log.",
                                           "required": True,
                                           "schema": {"type": "string", "pattern": "^req-[0-9a-f-]{36}$"}}}  # fmt: skip
    return page


def _gather(operation: Part, examples: Part, schemas: Part) -> None:
    """Move an operation's definitions into *schemas* and put its examples where they belong."""
    good = [answer for status, answer in operation["responses"].items() if status in ("200", "300")]
    for name, holder in (("request", operation.get("requestBody")), *(("response", answer) for answer in good)):
        if holder is None:
            continue
        (content,) = holder["content"].values()
        schemas.update(content["schema"].pop("$defs"))
        if name in examples:
            content["examples"] = {key: {"value": value} for key, value in examples[name].items()}
