"""The document of the API, and a page that shows it with scripts of our own house."""

from html import escape
from importlib.resources import files
from urllib.parse import urlsplit

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from restead.api.answers import Json
from restead.api.auth import base_address

router = APIRouter(include_in_schema=False)

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>restead: the API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{prefix}/docs/swagger-ui.css">
</head>
<body>
<div id="page" data-document="{prefix}/openapi.json"></div>
<script src="{prefix}/docs/swagger-ui-bundle.js"></script>
<script src="{prefix}/docs/docs.js"></script>
</body>
</html>
"""
# Styles and pictures that stand in the page itself are the bundle's own; nothing comes from elsewhere.
_POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_TYPES = {
    "docs.js": "text/javascript",
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js.LICENSE.txt": "text/plain",
}


@router.get("/openapi.json")
def openapi(request: Request) -> Json:
    return Json(request.app.openapi())


@router.get("/docs")
def docs(request: Request) -> Response:
    page = _PAGE.format(prefix=escape(urlsplit(base_address(request)).path))
    return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff"})


@router.get("/docs/{name}")
def docs_file(name: str) -> Response:
    if name not in _TYPES:
        raise HTTPException(404)
    content = files("restead.api").joinpath("static", name).read_bytes()
    return Response(content, media_type=_TYPES[name], headers={"X-Content-Type-Options": "nosniff"})
