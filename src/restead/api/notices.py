"""What operators are told: who was told what, what was given up, and a test.  An extension, for administrators."""

from typing import Annotated, Any, NotRequired

from fastapi import APIRouter, Depends
from typing_extensions import TypedDict

from restead.api.answers import Json, Link, Time, Whole, one_of, time, time_or_null
from restead.api.auth import Call, may
from restead.api.openapi import choice, documented, paging, parameter
from restead.api.paging import listing, text, window, word
from restead.domain.caller import Action
from restead.domain.errors import Code
from restead.domain.notice import Delivery, DeliveryFilter, Hearing, NoticeKind
from restead.domain.states import DeliveryState

SORT_KEYS = ("created_at", "updated_at", "status", "id")

router = APIRouter(prefix="/v1/{project_id}/notices", tags=["Notices"])


class NoticeView(TypedDict):
    """A notice for one recipient; *data*: all that is told, by its *type*; *next_at*: when it is tried next."""

    id: str
    notice_id: str
    type: Annotated[str, one_of(*NoticeKind)]
    at: Time
    project_id: str
    summary: str
    data: dict[str, Any]
    recipient: str
    status: Annotated[str, one_of(*DeliveryState)]
    tries: Whole
    created_at: Time
    updated_at: Time
    next_at: Time | None
    answer: str


class NoticeList(TypedDict):
    """Who was, or is to be, told what."""

    notices: list[NoticeView]
    notices_links: NotRequired[list[Link]]


class RecipientView(TypedDict):
    """Somebody who is told."""

    name: str


class RecipientList(TypedDict):
    """All who are told, as the settings name them."""

    recipients: list[RecipientView]


class CountBody(TypedDict):
    """How many it was done with."""

    notices: Whole


class AnswerView(TypedDict):
    """What came of a test: *said* is what the receiver answered."""

    recipient: str
    outcome: Annotated[str, one_of(*Hearing)]
    said: str


class AnswerBody(TypedDict):
    """What came of a test."""

    answer: AnswerView


@router.get(
    "",
    **documented(
        "listNotices",
        "List who was, or is to be, told what",
        answers=NoticeList,
        parameters=[
            choice("status", "Equal.", tuple(DeliveryState)),
            parameter("recipient", "Equal."),
            *paging(SORT_KEYS),
        ],
    ),
)
def list_notices(call: Annotated[Call, Depends(may(Action.NOTICES_LIST))]) -> Json:
    """Of all projects; administrators only, as all of these calls."""
    wanted = DeliveryFilter(word(call.query, "status", tuple(DeliveryState)), text(call.query, "recipient"))
    found = call.service.notices.list(call.caller, call.project_id, wanted, window(call.query, SORT_KEYS))
    return Json(listing(call, "notices", found, view))


@router.get("/recipients", **documented("listRecipients", "List who is told", answers=RecipientList))
def list_recipients(call: Annotated[Call, Depends(may(Action.NOTICES_LIST))]) -> Json:
    found = call.service.notices.recipients(call.caller, call.project_id)
    return Json({"recipients": [{"name": name} for name in found]})


@router.post(
    "/recipients/{name}/test",
    **documented("testRecipient", "Tell somebody a test", answers=AnswerBody, codes=[Code.NO_SUCH_PATH]),
)
def test_recipient(call: Annotated[Call, Depends(may(Action.NOTICES_TEST))], name: str) -> Json:
    """Sent at once, and once; whatever the receiver does, the answer is 200 and says it."""
    answer = call.service.notices.test(call.caller, call.project_id, name)
    return Json({"answer": {"recipient": name, "outcome": answer.hearing.value, "said": answer.said}})


@router.post("/retry", **documented("retryNotices", "Try again all that were given up", answers=CountBody))
def retry_notices(call: Annotated[Call, Depends(may(Action.NOTICES_RETRY))]) -> Json:
    return Json({"notices": call.service.notices.retry(call.caller, call.project_id, None)})


@router.delete("", **documented("deleteNotices", "Remove all that were given up", answers=CountBody))
def delete_notices(call: Annotated[Call, Depends(may(Action.NOTICES_DELETE))]) -> Json:
    return Json({"notices": call.service.notices.drop(call.caller, call.project_id, None)})


@router.post(
    "/{id}/retry",
    **documented("retryNotice", "Try one again that was given up", answers=CountBody, codes=[Code.NO_SUCH_PATH]),
)
def retry_notice(call: Annotated[Call, Depends(may(Action.NOTICES_RETRY))], id: str) -> Json:
    return Json({"notices": call.service.notices.retry(call.caller, call.project_id, id)})


@router.delete(
    "/{id}",
    **documented("deleteNotice", "Remove one that was given up", answers=CountBody, codes=[Code.NO_SUCH_PATH]),
)
def delete_notice(call: Annotated[Call, Depends(may(Action.NOTICES_DELETE))], id: str) -> Json:
    return Json({"notices": call.service.notices.drop(call.caller, call.project_id, id)})


def view(delivery: Delivery) -> NoticeView:
    """Return a notice for one recipient as clients read it."""
    notice = delivery.notice
    return {
        "id": delivery.id,
        "notice_id": notice.id,
        "type": notice.kind.value,
        "at": time(notice.at),
        "project_id": notice.project_id,
        "summary": notice.summary,
        "data": dict(notice.facts),
        "recipient": delivery.recipient,
        "status": delivery.state.value,
        "tries": delivery.tries,
        "created_at": time(delivery.created_at),
        "updated_at": time(delivery.updated_at),
        "next_at": time_or_null(delivery.next_at),
        "answer": delivery.answer,
    }
