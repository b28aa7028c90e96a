"""What does it look like when it works?

`scheduler-server demo` (`make demo`): a real server, six real worker processes of different speed, slots and
capabilities, and a queue client that sends real tasks. Afterwards the same tasks arrive at the same instants and the
same workers get them in turn, without a scheduler: measured, not simulated. Two tables compare what happened.

It uses the server as a stranger would: through `scheduler_server.client`, `scheduler_server.worker` and the contract.
Where it must be a server itself, for round robin, it speaks the contract with grpc. Nothing of the server is imported.

    main.py            the story, in order, and the exit code
    arrivals.py        which tasks, how large, when: all from one seed
    work.py, pace.py   what a task really does, and how a worker is made slow
    leash.py           nobody outlives the demo, whatever kills it
    fleet.py           the workers' processes          worker_process.py   one of them
    server_process.py  the server's process
    queue_client.py    the tasks through the scheduler
    round_robin.py     the same tasks in turn          taking_turns.py     the phase that does so
    tape.py            what was measured, the same for both
    figures.py         what follows from it
    screen.py          while it runs                   summary.py          when it is over
"""
