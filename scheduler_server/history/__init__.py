"""What happened?

    history = History(shell, settings, path, random)     opens the decision log, if there is to be one
    await history.ask(lambda log: log.decisions(...))    a question, beside the loop; HistoryUnavailable, NoHistory

Every decision, outcome and event is handed to the decision log (`storage/decision_log`) by reference, which costs the
loop a microsecond; a child process writes them. How busy workers were is summed up as leases end, sampled once a minute
in slices of a millisecond, kept for an hour in memory, and handed to the log too. What the log cannot take is dropped
and counted: no decision waits for it.

    settings.py    where to, for how long, how much may wait
    opening.py     the log that the settings name
    history.py     the whole: open, ask, close, how it is
    recorder.py    from the shell's changes to the log's entries
    busy.py        slot time that was busy, worker by worker
    sampler.py     once a second the queue, once a minute the fleet
    hour.py        the last hour, by minutes: utilisation and how even it was
    minute.py      what is counted by the minute, and waits by their length
    afterwards.py  after a kill: what the log has not, and what nobody knows
    learned.py     which outcomes the predictor knows already
    learning.py    teach the predictor from the log

May import: storage, assignment and what is below them. What it follows is the shell's `Changes`, by its methods only.
"""
