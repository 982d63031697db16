"""Speaking to a running service: where it is, who we are, and what its answers mean as errors."""

import json
import stat
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import environ
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from restead.domain.errors import (
    Code,
    Forbidden,
    InvalidRequest,
    NotFound,
    ResteadError,
    Unauthenticated,
    Unavailable,
)
from restead.places import config_folder

if TYPE_CHECKING:  # weighs a third of the command line, and only commands that ask a service need it
    import httpx2

PROVIDER = "fc4d5750-22e7-4798-8a46-f48f62c4c1da"  # CSBS: "provider_id … fixed value"
_DEFAULT_URL = "http://127.0.0.1:8799"
_SECONDS = 30.0  # for one answer; none of them waits for bytes to move
_ERRORS: dict[int, type[ResteadError]] = {
    400: InvalidRequest,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    413: InvalidRequest,
    503: Unavailable,
}

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Address:
    """Where a service is and who speaks to it."""

    url: str
    token: str = field(repr=False)
    project: str
    ca: str = ""  # PEM file that the service's certificate is checked against, instead of the system's


class Client:
    """A connection to one project of a service."""

    def __init__(self, address: Address) -> None:
        import ssl

        import httpx2

        self.address = address
        self._broken = httpx2.TransportError
        self._http = httpx2.Client(
            base_url=address.url.rstrip("/"),
            headers={"X-Auth-Token": address.token},
            timeout=_SECONDS,
            verify=ssl.create_default_context(cafile=address.ca) if address.ca else True,
        )

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, **query: str | int) -> Json:
        """Return the answer to a GET of *path* under the project; see `_answer` for errors."""
        return self._answer("GET", f"/v1/{self.address.project}{path}", params=query)

    def post(self, path: str, body: Json) -> Json:
        return self._answer("POST", f"/v1/{self.address.project}{path}", json=body)

    def put(self, path: str, body: Json) -> Json:
        return self._answer("PUT", f"/v1/{self.address.project}{path}", json=body)

    def delete(self, path: str, **query: str) -> Json:
        return self._answer("DELETE", f"/v1/{self.address.project}{path}", params=query)

    def all(self, path: str, name: str, /, **query: str | int) -> Iterator[Json]:
        """Yield the entries of every page of the list *name*."""
        answer = self.get(path, **query)
        yield from answer[name]
        while links := answer.get(f"{name}_links"):
            answer = self._answer("GET", _below(links[0]["href"]))
            yield from answer[name]

    def stream(self, path: str, after: int) -> Iterator[Json]:
        """Yield the events of a story behind number *after* as they come, until the service ends the stream.

        Raises:
            Unavailable: no answer came, or the connection broke; what was yielded stays true.
            NotFound, Forbidden, …: as the other calls.
        """
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": str(after)} if after else {})}
        whole = f"/v1/{self.address.project}{path}"
        with self._reached(), self._http.stream("GET", whole, headers=headers) as response:
            if not response.is_success:
                response.read()
                raise self._refusal(response)
            for line in response.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))

    def _answer(self, method: str, path: str, **more: Any) -> Json:
        """Raises ResteadError's leaf for the status: Unavailable also where no answer comes."""
        with self._reached():
            response = self._http.request(method, path, **more)
        if not response.is_success:
            raise self._refusal(response)
        return self._object(response) if response.content else {}

    def _refusal(self, response: "httpx2.Response") -> ResteadError:
        body = self._object(response)
        kind = _ERRORS.get(response.status_code, ResteadError)
        return kind(str(body.get("error_msg", response.reason_phrase)), detail=_reference(body, response))

    def _object(self, response: "httpx2.Response") -> Json:
        try:
            body = response.json()
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise ResteadError(f"the service at {self.address.url} answered {response.status_code} without JSON")
        return body

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except self._broken as error:
            raise Unavailable(
                f"the service at {self.address.url} cannot be reached: {error or type(error).__name__}"
            ) from error


def _reference(body: Json, response: "httpx2.Response") -> str:
    code = str(body.get("error_code", response.status_code))
    if response.status_code < 500:
        return "" if code == Code.NO_SUCH_PATH.value else code  # what is missing is said; a path is no word for people
    return f"{code}, request {response.headers.get('X-Openstack-Request-Id', 'unknown')}"


def _below(href: str) -> str:
    """The path and query of a link: its host may be one that only others can reach."""
    url = urlsplit(href)
    return urlunsplit(url._replace(scheme="", netloc=""))


def open_client(url: str | None, token: str | None, project: str | None) -> Client:
    """Open a client: each of flag, environment and client.toml fills in what those before left out.

    Raises:
        InvalidRequest: no token or no project is known; client.toml is wrong, or others can read it.
    """
    file = _client_file()
    found = {
        "url": url or environ.get("RESTEAD_URL") or file.get("url") or _DEFAULT_URL,
        "token": token or environ.get("RESTEAD_TOKEN") or file.get("token", ""),
        "project": project or environ.get("RESTEAD_PROJECT") or file.get("project", ""),
        "ca": environ.get("RESTEAD_CA") or file.get("ca", ""),
    }
    for name in ("token", "project"):
        if not found[name]:
            raise InvalidRequest(f"no {name}: give --{name}, set RESTEAD_{name.upper()}, or write it to client.toml")
    if not found["token"].isascii() or not found["token"].isprintable():
        raise InvalidRequest("the token holds characters that no token has")
    return Client(Address(**found))


def _client_file() -> dict[str, str]:
    path = config_folder() / "client.toml"
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(path.stat().st_mode)
            values = tomllib.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"{path} cannot be read: {error}") from error
    if "token" in values and mode & 0o077:
        raise InvalidRequest(f"{path} holds a token and has mode {mode:04o}: chmod 600 {path}")
    unknown = sorted(set(values) - {"url", "token", "project", "ca"})
    if unknown or not all(isinstance(value, str) for value in values.values()):
        raise InvalidRequest(f"{path} may hold url, token, project and ca, each text; it also holds {unknown}")
    return values
