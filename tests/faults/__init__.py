"""What must hold whoever dies, and does it?

    make faults              # the whole campaign; SEED=n repeats a plan, FAULTS=n takes its first n faults

A plan of faults, drawn from a seed, is carried out on real processes under load: servers, SDK workers, redis-server.
Workers write down what happens to them, the harness what it promised and what it did, all into one file; afterwards a
checker that knows nothing of the server reads that file and names every broken promise with the lines that prove it.

    plan.py       which faults, in which order, with which numbers: all from the seed
    load.py       tasks into the stream, for as long as the campaign lasts
    world.py      the processes
    program.py    an SDK worker that writes down what it is handed
    kinds.py      how each fault is done
    campaign.py   a plan carried out, and everything put right again at its end
    log.py        the event log
    history.py    what the log says, by process and by task
    checker.py    the promises
    report.py     the table

The promises: no accepted task is lost; a worker never holds more tasks than it has slots; nothing begins twice unless
the session of its first start was fenced or lost; no hand-over to a worker that is drained, removed or not capable.
The seed repeats the plan, not the interleaving: processes run as fast as they do.
"""
