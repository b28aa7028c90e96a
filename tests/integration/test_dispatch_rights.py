"""The commands that docs/dispatch.md says a user needs are the ones that are used."""

import re
from pathlib import Path

from scheduler_server.dispatch import letters, scripts
from scheduler_server.dispatch.gateway import Claim, Gateway, Names
from scheduler_server.dispatch.settings import DispatchSettings
from scheduler_server.dispatch.setup import prepare
from scheduler_server.storage.redis_url import parse
from tests.redis_server import redis_server

MANUAL = Path(__file__).parents[2] / "docs" / "dispatch.md"


def commands() -> list[str]:
    told = re.search(r"A user needs `([A-Z ]+)`, `PUBLISH`", MANUAL.read_text().replace("\n", " "))
    assert told is not None
    return [*told[1].lower().split(), "publish"]


def uses_all(gateway: Gateway, settings: DispatchSettings) -> None:
    """Everything that a server asks of Redis."""
    (stream,), dead = settings.streams, settings.dead_letters
    prepare(gateway, settings)
    orders = [("XADD", stream, "MAXLEN", "~", 9, "*", "a", "b"), ("PUBLISH", "to:w", "x")]
    assert not [answer.error for answer in gateway.send(orders) if answer.error]
    (one,) = gateway.read(settings.streams, 1, 0)
    entry_id = one.source.entry_id
    assert gateway.own(stream, "", 9) == [(entry_id, 1)]
    assert gateway.fetch(stream, [entry_id])[0].fields
    assert gateway.peek([one.source])[0]
    assert gateway.whose(stream, [entry_id]) == ["me"]
    now_ms = gateway.now_ms()
    assert gateway.take_over(stream, "0-0", Claim(0, 9, now_ms - 1)) == ("0-0", 0), "it came too late"
    assert gateway.take_over(stream, "0-0", Claim(0, 9, now_ms + 60_000)) == ("0-0", 1)
    aside = ("EVAL", scripts.SET_ASIDE, 2, dead, stream, settings.group, entry_id, 9, "task", "t")
    (answer, acknowledged) = gateway.send([aside, ("XACK", stream, settings.group, entry_id)])
    assert (answer.error, acknowledged.error) == ("", "")
    (letter,) = letters.page(gateway, dead, "")
    assert letters.found(gateway, dead, letter.letter_id) == letter
    assert letters.put_back(gateway, dead, letter.letter_id, stream, b"t")
    assert not letters.discarded(gateway, dead, letter.letter_id)
    assert gateway.trim(stream, "0-0") == 0
    assert gateway.forget_consumers(stream, 0) == 0
    assert gateway.now_ms()
    gateway.lag(settings.streams)


def test_the_rights_that_the_manual_names_are_enough(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        rights = [f"+{each}" for each in commands()]
        server.client().execute_command(
            "ACL", "SETUSER", "a", "on", ">geheim", "~{scheduler-server}:*", "&*", "-@all", *rights
        )
        settings = DispatchSettings(url=server.url.replace("://", "://a:geheim@"))
        gateway = Gateway(parse(settings.url), Names(settings.group, "me"), 5.0)
        uses_all(gateway, settings)
        gateway.close()
