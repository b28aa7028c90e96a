"""What would have happened?

Histories read from files, predictors replayed over them, and the core on a virtual clock. What the core does is not
repeated here: what is judged is the very code that a server would use, told and asked in the order in which a server
would have told and asked it.

Histories, and predictors alone (`backtest`):

    trace_file.py     the lines of a file: plain, gzip or standard input, one at a time
    trace_layout.py   lines to named values: CSV or JSON Lines, and which column means what
    trace_row.py      named values to one checked row, and why a row is refused
    traces.py         a whole trace: rows in submit order, bad rows counted: START READING HERE
    feedback.py       rows to what a server would have seen: a submit, or an end, when each came
    backtest.py       predictors through all that, and the report
    score.py          what one predictor's answers were worth
    tally.py          counts of rounded values: medians in bounded memory
    hindsight.py      what the best constant per type would have reached
    calibration.py    what a picture of the errors is drawn from

Policies over tasks and a fleet (`simulate`, docs/simulator.md):

    study.py          policies side by side, seed by seed: START READING HERE
    pieces.py         tasks, from wherever they come, any number of times
    arrivals.py       when they come, at which load; generated.py: tasks that are made up
    fleet.py          the machines: speeds, capabilities, hours, failures, work of others
    engine.py         the virtual clock: tasks come, machines work, fail and beat
    policies.py       simple policies to compare with (choosing.py: plain choices); core_policy.py: the real core as one
    oracle.py         predictors that no server has; names.py: policies by name
    measures.py       what a run is judged by; sketch.py: quantiles; intervals.py: over seeds

A predictor learns of a task when the task ends, not when it is submitted. That is the whole point: with instant
feedback a trace of bursts looks easy, because the first of a burst would have taught the others.

May import: assignment and what is below it, and the names of settings; no clock, and no chance but from a seed that is
given. A stopwatch and open files come in as arguments.
"""
