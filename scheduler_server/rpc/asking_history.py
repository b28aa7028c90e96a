"""Questions to the decision log, with its failures as refusals."""

from collections.abc import Callable
from typing import TypeVar

from scheduler_server.history.history import History, HistoryUnavailable, NoHistory
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.rpc.errors import Refused
from scheduler_server.storage.decision_log import DecisionLog, PageTokenInvalid

T = TypeVar("T")

_STORE = (("store", "decision_log"),)


async def ask(history: History, question: Callable[[DecisionLog], T]) -> T:
    """The answer, or a refusal: NO_HISTORY, STORE_UNAVAILABLE, PAGE_TOKEN_INVALID."""
    try:
        return await history.ask(question)
    except NoHistory as error:
        message = f"no history is kept: {error}"
        raise Refused(Refusal(Reason.NO_HISTORY, message, _STORE)) from None
    except HistoryUnavailable as error:
        raise unavailable(str(error)) from None
    except PageTokenInvalid as error:
        raise Refused(Refusal(Reason.PAGE_TOKEN_INVALID, str(error), (("field", "page_token"),))) from None


def unavailable(why: str) -> Refused:
    """The log cannot be read now."""
    return Refused(Refusal(Reason.STORE_UNAVAILABLE, why, _STORE))
