"""Which versions of the API there are; needs no token."""

from fastapi import APIRouter
from starlette.requests import Request
from typing_extensions import TypedDict

from restead.api.answers import Json, Link
from restead.api.auth import base_address
from restead.api.openapi import documented

router = APIRouter(tags=["Versions"])


class VersionView(TypedDict):
    """A version and where it is."""

    id: str
    status: str
    links: list[Link]


class VersionList(TypedDict):
    """All versions."""

    versions: list[VersionView]


@router.get("/", **documented("listVersions", "List versions", answers=VersionList, status=300, public=True))
def versions(request: Request) -> Json:
    return Json(_versions(request), status_code=300)


@router.get("/v1", **documented("showVersion", "Show version 1", answers=VersionList, public=True))
def version(request: Request) -> Json:
    return Json(_versions(request))


def _versions(request: Request) -> VersionList:
    link: Link = {"rel": "self", "href": f"{base_address(request)}/v1/"}
    return {"versions": [{"id": "v1.0", "status": "CURRENT", "links": [link]}]}
