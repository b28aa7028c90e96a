"""Which entries are ours?

Those that this server holds are refreshed, those of servers that died are taken over, and what another server has taken
from this one is let go.

An entry that is not refreshed for `claim_after_s` may be taken over by another server. So a server that could not
refresh for most of that time places nothing more of what it holds, until Redis has told it what is still its own.

When Redis itself did not answer, nobody could refresh, and whoever came back first would take what the others have
still. So a server takes over only after it has reached Redis all through `claim_after_s`: the others had that time too.
"""

import asyncio
from collections.abc import Callable
from math import inf
from typing import Any

from scheduler_server.assignment.events import Cancel, Withdraw
from scheduler_server.assignment.ledger import TaskRecord
from scheduler_server.dispatch import Owner
from scheduler_server.dispatch.entries import Source
from scheduler_server.dispatch.gateway import Claim, Gateway
from scheduler_server.dispatch.holdings import Holding, Holdings
from scheduler_server.dispatch.intake import Intake, Met
from scheduler_server.dispatch.outbox import Outbox
from scheduler_server.dispatch.settings import DispatchSettings

_PAGE = 500
"""Entries per script: Redis does nothing else meanwhile (about a millisecond), and Lua's stack holds some thousands."""

_LOOKED_AT = 4_000
"""Entries looked at in one go, half a millisecond."""

_YIELDED_AT_ONCE = 32

_REFRESHES = 3
"""Times an entry is refreshed before another server may take it: one may be late, and one may fail."""

_SAFE = 0.7
"""Share of `claim_after_s` after which a server that could not refresh has to ask before it hands over."""

Run = Callable[..., Any]


class Ownership:
    """For the loop's thread; `run` awaits a call in the thread that asks Redis."""

    def __init__(
        self,
        owner: Owner,
        gateway: Gateway,
        run: Run,
        intake: Intake,
        holdings: Holdings,
        outbox: Outbox,
        settings: DispatchSettings,
        warn: Callable[[str], None],
    ) -> None:
        self._owner = owner
        self._gateway = gateway
        self._run = run
        self._intake = intake
        self._holdings = holdings
        self._outbox = outbox
        self._settings = settings
        self._warn = warn
        self.refreshed_at = self._in_touch_since = owner.now().monotonic
        self.unread: dict[Source, int] = {}  # ours, and not read yet, with their deliveries
        self.every_s = settings.claim_after_s / _REFRESHES

    @property
    def stale_in_s(self) -> float:
        """Seconds until another server may have taken what this one holds; below 0: it may."""
        return self.refreshed_at + _SAFE * self._settings.claim_after_s - self._owner.now().monotonic

    def stale_since(self, instant: float) -> bool:
        """Can another server have taken by now what became this one's at that instant, and was not refreshed?"""
        return self._owner.now().monotonic - instant > _SAFE * self._settings.claim_after_s

    @property
    def stale(self) -> bool:
        """Can another server have taken what this one holds?"""
        return self.stale_in_s < 0.0

    def out_of_touch(self) -> None:
        """Redis could not be asked: for others it may be the same."""
        self._in_touch_since = inf

    # ------------------------------------------------------------------ refresh

    async def refresh(self) -> None:
        """Ask for everything that is ours, which refreshes it. Raises StreamsError."""
        began = self._owner.now().monotonic
        holdings = self._holdings
        holdings.passes = number = holdings.passes + 1
        known = holdings.known
        unread: set[Source] = set()
        for stream in self._settings.streams:
            after = ""
            while True:
                page = await self._run(self._gateway.own, stream, after, _PAGE)
                for entry_id, deliveries in page:
                    source = Source(stream, entry_id)
                    if source in known:
                        known[source] = number
                    else:
                        self.unread.setdefault(source, deliveries)
                        unread.add(source)
                if len(page) < _PAGE:
                    break
                after = page[-1][0]
        for source in [each for each in self.unread if each not in unread]:
            del self.unread[source]  # another server has it
        missing: list[Source] = []
        everything = list(known)
        for at in range(0, len(everything), _LOOKED_AT):
            missing += [each for each in everything[at : at + _LOOKED_AT] if known.get(each, number) < number]
            await asyncio.sleep(0)
        settled = self._outbox.settled
        missing = [each for each in missing if each in known and str(each) not in settled]
        if missing:
            await self._let_go(missing)
        now = self._owner.now().monotonic
        if self._in_touch_since == inf or now - self.refreshed_at > _SAFE * self._settings.claim_after_s:
            self._in_touch_since = now  # an answer may also be late without anything having failed
        self.refreshed_at = began  # not earlier: what another server has must not be handed over meanwhile

    async def _let_go(self, missing: list[Source]) -> None:
        """Another server has these, or is about to be given them; what nobody has any more stays here."""
        for stream in self._settings.streams:
            ids = [each.entry_id for each in missing if each.stream == stream]
            for at in range(0, len(ids), _PAGE):
                page = ids[at : at + _PAGE]
                whose = await self._run(self._gateway.whose, stream, page)
                for number, (entry_id, consumer) in enumerate(zip(page, whose, strict=True), 1):
                    self._not_found(Source(stream, entry_id), consumer)
                    if number % _YIELDED_AT_ONCE == 0:
                        await asyncio.sleep(0)

    def _not_found(self, source: Source, consumer: str) -> None:
        if consumer == self._gateway.names.consumer:
            return  # it is ours after all
        if consumer:
            self._yield(source)
        else:
            self._warn(
                f"stream {source.stream}: entries were removed that nobody had acknowledged; their tasks are kept in"
                " memory only"
            )

    def _yield(self, source: Source) -> None:
        if source not in self._holdings.known or str(source) in self._outbox.settled:
            return
        self._intake.met[Met.YIELDED] += 1
        holding = self._holdings.of(source)
        self._holdings.forget((source,))
        if holding is None:
            if source in self._holdings.parked:
                self._holdings.parked.remove(source)
        elif len(holding.sources) > 1:
            self._holdings.drop(holding, source)
        elif not self.withdraw(holding):
            self._forget(holding)  # it has a lease: unless that was sent, `payloads.py` ends it

    # ------------------------------------------------------------------ withdraw

    def withdraw(self, holding: Holding) -> bool:
        """Let a task wait here no more: Redis has it. False: it does not wait, it has a lease by now and goes on."""
        tenant, task_id = holding.key
        waiter = self._owner.core.queue.waiting.by_task.get(holding.key)
        if waiter is None or not waiter.event.held:
            return False
        holding.withdrawn = True
        self._owner.handle(Withdraw(tenant, task_id, waiter.event.task.attempt))
        self._forget(holding)
        return True

    def _forget(self, holding: Holding) -> None:
        holding.withdrawn = True
        self._holdings.forget(self._holdings.let_go(holding))

    def revoke(self, record: TaskRecord, why: str, *, comes_again: bool = True) -> None:
        """End a lease that nothing was sent of, without acknowledging its entries.

        `comes_again`: Redis has the task still, so this is no end of it: see `Intake`.
        """
        task = record.task
        record.requeued = comes_again
        holding = self._holdings.by_task.get((task.tenant, task.task_id))
        if holding is not None:
            self._forget(holding)
        self._owner.handle(Cancel(task.tenant, task.task_id, task.attempt, record.lease_id, why, unsent=True))

    # ------------------------------------------------------------------ take over

    async def take_over(self) -> None:
        """Claim what servers have left that died, as far as there is room; the rest next time. Raises StreamsError."""
        if self._owner.now().monotonic - self._in_touch_since < self._settings.claim_after_s:
            return
        idle_ms = round(self._settings.claim_after_s * 1_000)
        until_ms = await self._run(self._gateway.now_ms) + round(self._settings.timeout_s * 1_000)
        for stream in self._settings.streams:
            cursor = "0-0"
            while (room := self._intake.room() - len(self.unread)) > 0:
                claim = Claim(idle_ms, min(_PAGE, room), until_ms)
                cursor, claimed = await self._run(self._gateway.take_over, stream, cursor, claim)
                if claimed:
                    self._intake.met[Met.CLAIMED] += claimed
                    await self.refresh()
                if cursor == "0-0":
                    break
