"""What a name on the command line means: an id, or the name of exactly one thing."""

from urllib.parse import quote

from restead.cli.client import PROVIDER, Client, Json
from restead.cli.show import when
from restead.domain.errors import Forbidden, InvalidRequest, NotFound, Unavailable
from restead.domain.ids import canonical_id


def server(client: Client, name_or_id: str) -> Json:
    """Return the server.  Raises NotFound."""
    found: Json = client.get(f"/servers/{segment(name_or_id)}")["server"]
    return found


def backup(client: Client, name_or_id: str) -> Json:
    """Return the backup of that id, or the only one of that name.

    Raises:
        NotFound: there is none.
        InvalidRequest: several have that name.
    """
    try:
        found: Json = client.get(f"/checkpoint_items/{segment(name_or_id)}")["checkpoint_item"]
    except NotFound:
        pass
    else:
        return found
    named = [each for each in client.all("/checkpoint_items", "checkpoint_items", name=name_or_id)
             if each["name"] == name_or_id]  # fmt: skip
    if not named:
        raise NotFound(f"there is no backup with the id or name {name_or_id}")
    if len(named) > 1:
        which = ", ".join(f"{each['id']} of {when(each['created_at'])}" for each in named[:5])
        raise InvalidRequest(f"{len(named)} backups are named {name_or_id}; say which by its id: {which}")
    return named[0]


def policy(client: Client, name_or_id: str) -> Json:
    """Return the policy of that id, or of that name.  Raises NotFound."""
    try:
        found: Json = client.get(f"/policies/{segment(name_or_id)}")["policy"]
    except NotFound:
        pass
    else:
        return found
    named: list[Json] = client.get("/policies", name=name_or_id)["policies"]
    if not named:
        raise NotFound(f"there is no policy with the id or name {name_or_id}")
    return named[0]


def checkpoint(client: Client, id: str) -> Json:
    """Return the checkpoint.  Raises NotFound."""
    found: Json = client.get(f"/providers/{PROVIDER}/checkpoints/{segment(id)}")["checkpoint"]
    return found


def restore(client: Client, id: str) -> Json:
    """Return the restore.  Raises NotFound."""
    found: Json = client.get(f"/restores/{segment(id)}")["restore"]
    return found


def disks(client: Client, restore: Json) -> tuple[str, dict[str, str]]:
    """Return what people call a restore's server, and its disks by their ids; what is not there any more by its id."""
    id = restore["parameters"]["targets"]["server_id"]
    try:
        found = server(client, id)
    except (Forbidden, NotFound, Unavailable):
        return id, {each["volume_id"]: each["volume_id"] for each in restore["volumes"]}
    names = {canonical_id(each["id"]): f"{found['name']} {each['name']} ({each['id']})" for each in found["volumes"]}
    called = {each["volume_id"]: names.get(canonical_id(each["volume_id"]), each["volume_id"])
              for each in restore["volumes"]}  # fmt: skip
    return f"{found['name']} ({found['id']})", called


def segment(text: str) -> str:
    """The text as one part of a path; what could leave it names nothing."""
    if not text or "/" in text or text in (".", ".."):
        raise NotFound(f"there is nothing with the id or name {text!r}")
    return quote(text, safe="")
