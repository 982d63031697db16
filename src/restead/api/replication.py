"""Replication: there is no other region, and the published calls say so."""

from typing import Annotated, NoReturn

from fastapi import APIRouter, Depends
from starlette.exceptions import HTTPException
from typing_extensions import TypedDict

from restead.api.answers import Json
from restead.api.auth import Call, Provider, check_provider, may
from restead.api.openapi import documented
from restead.domain.caller import Action

router = APIRouter(prefix="/v1/{project_id}", tags=["Replication"])


class Regions(TypedDict):
    """Where backups could be replicated to: nowhere."""

    regions: list[str]


@router.get(
    "/replication_capabilities",
    **documented("showReplicationCapabilities", "Show where backups could be replicated to", answers=Regions),
)
def show_capabilities(call: Annotated[Call, Depends(may(Action.BACKUPS_GET))]) -> Json:  # noqa: ARG001
    return Json({"regions": []})


@router.post(
    "/providers/{provider_id}/checkpoints/replicate",
    **documented("replicateCheckpoint", "Not supported", unsupported=True),
)
def replicate_checkpoint(
    call: Annotated[Call, Depends(may(Action.BACKUPS_CREATE))], provider_id: Provider  # noqa: ARG001
) -> NoReturn:  # fmt: skip
    check_provider(provider_id)
    _refuse()


@router.post(
    "/providers/{provider_id}/checkpoint_items/{checkpoint_item_id}/replicate",
    **documented("replicateBackup", "Not supported", unsupported=True),
)
def replicate_backup(
    call: Annotated[Call, Depends(may(Action.BACKUPS_CREATE))], provider_id: Provider, checkpoint_item_id: str  # noqa: ARG001
) -> NoReturn:  # fmt: skip
    check_provider(provider_id)
    _refuse()


def _refuse() -> NoReturn:
    raise HTTPException(500, "replication is not supported: there is no other region")
