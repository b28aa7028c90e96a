"""How much does a server take, from here? A load of real Assign calls, beside a call that does nothing.

    latencies   times of calls, in a size that does not grow with the run
    tally       what came of the calls: by name, and their errors by code
    load        makes the calls, and ends every lease that it took

The command itself is `commands/bench.py`.
"""
