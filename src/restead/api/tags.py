"""Tags of backups and of policies: the same calls for both, under paths of their own."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from starlette.responses import Response
from typing_extensions import TypedDict

from restead.api import backup_view
from restead.api.answers import Json, Whole
from restead.api.auth import Call, may
from restead.api.backup_view import BackupView, TagView
from restead.api.openapi import documented
from restead.api.tag_requests import TagBodyShape, TagsActionShape, TagSearchShape, one_tag, tag_search, tags_action
from restead.domain.backup import Backup
from restead.domain.caller import Action
from restead.domain.errors import Code
from restead.domain.policy import Policy
from restead.domain.tag import TagKind

_NONE = 204
_Listing = Annotated[Call, Depends(may(Action.TAGS_LIST))]
_Setting = Annotated[Call, Depends(may(Action.TAGS_SET, body=True))]


class TagList(TypedDict):
    """The tags of one thing."""

    tags: list[TagView]


class TagValues(TypedDict):
    """A key with the values that it has in the project."""

    key: str
    values: list[str]


class ProjectTags(TypedDict):
    """All tags in the project."""

    tags: list[TagValues]


class NoDetail(TypedDict):
    """Policies are told without details here."""


class FoundBackup(TypedDict):
    """A backup that was found."""

    resource_id: str
    resource_name: str
    resource_detail: BackupView
    tags: list[TagView]


class FoundPolicy(TypedDict):
    """A policy that was found."""

    resource_id: str
    resource_name: str
    resource_detail: NoDetail
    tags: list[TagView]


class FoundBackups(TypedDict, total=False):
    """A page of what was found, unless it was only counted, and how many there are in all."""

    resources: list[FoundBackup]
    total_count: Whole


class FoundPolicies(TypedDict, total=False):
    """As for backups."""

    resources: list[FoundPolicy]
    total_count: Whole


def _views(found: Backup | Policy) -> list[TagView]:
    return [{"key": tag.key, "value": tag.value} for tag in found.tags]


def _found(found: Backup | Policy) -> dict[str, Any]:
    return {
        "resource_id": found.id,
        "resource_name": found.name,
        "resource_detail": backup_view.view(found) if isinstance(found, Backup) else {},
        "tags": _views(found),
    }


def _search(call: Call, kind: TagKind) -> Json:
    wanted, limit, offset = tag_search(call.body)
    look = call.service.tags.search_backups if kind is TagKind.BACKUP else call.service.tags.search_policies
    page, count = look(call.caller, call.project_id, wanted, limit, offset)
    return Json({**({"resources": [_found(each) for each in page]} if limit else {}), "total_count": count})


def _router(kind: TagKind, noun: str, missing: Code) -> APIRouter:
    """Return the calls for one kind; *noun* in the names of operations."""
    router = APIRouter(prefix=f"/v1/{{project_id}}/{kind.value}", tags=["Tags"])
    _add_changes(router, kind, noun, missing)
    _add_lists(router, kind, noun, missing)
    _add_search(router, kind, noun)
    return router


def _add_changes(router: APIRouter, kind: TagKind, noun: str, missing: Code) -> None:
    @router.post(
        "/{id}/tags",
        **documented(
            f"set{noun}Tag", "Set a tag", asks=TagBodyShape, codes=[missing, Code.TOO_MANY_TAGS], status=_NONE
        ),
    )
    def set_tag(call: _Setting, id: str) -> Response:
        """A key that is there gets the new value."""
        call.service.tags.set(call.caller, call.project_id, kind, id, [one_tag(call.body)])
        return Response(status_code=_NONE)

    @router.delete(
        "/{id}/tags/{key}",
        **documented(f"delete{noun}Tag", "Remove a tag", codes=[missing, Code.TAG_NOT_FOUND], status=_NONE),
    )
    def delete_tag(call: Annotated[Call, Depends(may(Action.TAGS_DELETE))], id: str, key: str) -> Response:
        call.service.tags.remove_one(call.caller, call.project_id, kind, id, key)
        return Response(status_code=_NONE)

    @router.post(
        "/{id}/tags/action",
        **documented(
            f"change{noun}Tags", "Set or remove several tags", asks=TagsActionShape,
            codes=[missing, Code.TOO_MANY_TAGS], status=_NONE,
        ),
    )  # fmt: skip
    def change_tags(call: _Setting, id: str) -> Response:
        """All are set or none is; those to remove that are not there are passed over."""
        wanted, unwanted = tags_action(call.body)
        if wanted:
            call.service.tags.set(call.caller, call.project_id, kind, id, wanted)
        else:
            call.service.tags.remove(call.caller, call.project_id, kind, id, unwanted)
        return Response(status_code=_NONE)


def _add_lists(router: APIRouter, kind: TagKind, noun: str, missing: Code) -> None:
    @router.get("/{id}/tags", **documented(f"list{noun}Tags", "List its tags", answers=TagList, codes=[missing]))
    def list_tags(call: _Listing, id: str) -> Json:
        found = call.service.tags.list(call.caller, call.project_id, kind, id)
        return Json({"tags": [{"key": tag.key, "value": tag.value} for tag in found]})

    @router.get("/tags", **documented(f"list{noun}TagsOfProject", "List all tags in use", answers=ProjectTags))
    def list_project_tags(call: _Listing) -> Json:
        found = call.service.tags.of_project(call.caller, call.project_id, kind)
        return Json({"tags": [{"key": key, "values": list(values)} for key, values in found.items()]})


def _add_search(router: APIRouter, kind: TagKind, noun: str) -> None:
    answers = FoundBackups if kind is TagKind.BACKUP else FoundPolicies

    @router.post(
        "/resource_instances/action",
        **documented(f"find{noun}ByTags", "Find or count by tags", asks=TagSearchShape, answers=answers),
    )
    def find(call: Annotated[Call, Depends(may(Action.TAGS_LIST, body=True))]) -> Json:
        """Conditions are joined by AND; `total_count` counts all matches."""
        return _search(call, kind)


router = APIRouter()
router.include_router(_router(TagKind.BACKUP, "Backup", Code.BACKUP_NOT_FOUND))
router.include_router(_router(TagKind.POLICY, "Policy", Code.POLICY_NOT_FOUND))
