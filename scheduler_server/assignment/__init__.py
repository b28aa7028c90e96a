r"""The decision. START READING HERE.

One synchronous state machine with a single owner: events in, effects out. It awaits nothing, reads no clock and draws
no random number, so a log of its events replays to the same effects byte for byte, and the simulator can run it on a
virtual clock.

    task -> feasible workers -> prediction -> scores -> best -> lease -> decision
                 \_ any failure of predictor or scorer, or an open breaker -> round robin -> lease -> decision

Read in this order:

    events.py, effects.py   what goes in, what comes out
    core.py                 the state machine: which event is handled where, time, queries
    placement.py            the decision itself: the pipeline above, told by one function
    queueing.py             tasks that wait: they come, are placed, give up; room.py: how many may; steered.py: pauses,
                            priorities
    waiting.py              which is next (lineup.py, lanes.py, reach.py, order.py, backlog.py,
                            tenants.py); how many are ahead (rank.py, keys.py);
                            renewing.py: all of them by other rules, in slices
    outlook.py              what one is told: position, expected start (expected_start.py), what blocks it
    ledger.py               leases and tasks: who holds a slot, what became of whom
    usage.py                what running tasks are charged to their tenants; timers.py: instants that may come to pass
    repeats.py              requests for what is known: the same answer again
    outcomes.py             how leases end, and what is learned from it
    losses.py               leases that nobody ends: placed again, reported, set aside; trail.py: what goes along
    accuracy.py             were the predictions any good, and which types' are too poor to be used
    link.py                 workers: sessions, registration, samples
    ejecting.py             who fails out of line is out for a while (sparing.py: can the fleet do without?);
                            ramping.py: new workers start slowly
    draining.py             workers that are to be emptied (drain_record.py: how far; drain_register.py: which there
                            are; drain_stops.py: their deadlines; drain_jobs.py: in slices)
    departures.py           who is lost, who is removed; probing.py: who does not hear us
    vitals.py               their health: ageing, load, events
    lease_talk.py           what they say of their leases; reconcile.py: their lists and counts against the ledger;
                            lateness.py: how late both are
    explanation.py          what a decision or a refusal is explained by (explaining.py: which are; counterfactual.py:
                            what would have changed it); telling.py: all of it in words
    dry_run.py              what a task would be answered, and nothing comes of it; scanning.py: every worker looked at
    overrides.py            an operator's exceptions (override_rules.py: which apply; override_checks.py: can they?)
    reconfiguring.py        other settings hold from now on: what each part is told; harm.py: what they would do
    state.py                what survives a restart, record by record
    recording.py            the event log, and its replay

May import: registry, predictor, scorer, fallback, model, and numpy. Nothing with effects: no grpc, protobuf, redis,
asyncio, time, random or os; import-linter holds that.
"""
