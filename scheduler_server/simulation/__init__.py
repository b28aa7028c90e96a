"""What would have happened?

Histories read from files, and predictors replayed over them. What the core does is not repeated here: a predictor that
is judged is the very one that a server would use, and it is told and asked in the order in which a server would have
told and asked it.

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

A predictor learns of a task when the task ends, not when it is submitted. That is the whole point: with instant
feedback a trace of bursts looks easy, because the first of a burst would have taught the others.

May import: assignment and what is below it, and the names of settings; no clock and no chance. A stopwatch and open
files come in as arguments.
"""
