"""What is going on right now? A live screen: fleet, queue, decisions, accuracy, events; by keys into one worker.

    terminal    takes the screen, and gives it back however it ends
    keys        bytes from a terminal, as keys
    state       what is looked at; `press` is all that keys do. No clock, no terminal
    feed        asks the server in a thread of its own, so that keys are never waited for
    frame       state and answers to lines of exactly the terminal's size. Pure
    loop        connects them

Of any fleet only what fits the screen is asked for: filtered, sorted and counted by the server.
"""
