"""What would another policy have decided?

    shadow = Shadow(core, settings, now, ...)     one of the shell's `changes` while any policy is to be tried
    compare(name, shadow.rows(name))              how its choices compare with the live ones

Policies decide beside the live one and never act. A decision costs the live path one append; a few milliseconds later,
in slices of a millisecond, each policy says whom it would have chosen, and when the live lease has ended, both choices
are judged by what happened.

    settings.py    which policies, how much of the loop's time, how many comparisons are kept
    seats.py       the workers as they stood when the live decision was made
    policies.py    whom each policy would choose among them
    judging.py     what a choice was predicted to lead to, and what it would have led to as things went
    kept.py        the comparisons, the last of each policy
    observing.py   the whole: hear of leases, look in slices, judge: START READING HERE
    comparing.py   from comparisons to figures with their uncertainty
    telling.py     the figures in a few lines

What is compared is one decision at a time: this task elsewhere, and everything else as it was. What a policy would make
of a whole day, with its own queues, is a question for `simulate`.

May import: storage (its entries), simulation (plain choices, intervals), assignment and what is below it. What it
follows is the shell's `Changes`, by its methods only.
"""
