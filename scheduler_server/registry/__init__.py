"""Who can work?

The fleet: one record per worker, found by id in O(1), and an index that answers "the best candidate of this kind" in
constant time. Two axes are kept apart. *Eligibility* (capabilities, specializations, labels, whether it takes tasks
from its stream) changes rarely and makes **pools**: all workers of one pool can do the same. *Rank* (free slots, load,
age, speed) changes with every event and is one number per worker, its **key**, kept in its pool.

An event touches one worker, so it recomputes one key; a decision compares the best of the few pools that can serve it.
Nothing scans the fleet except the sweep, once a second, over plain numpy columns.

May import: model, numpy. No clock, no randomness, no I/O: time and the scorer's key function come in from outside.

    record.py        everything known of one worker
    pool.py          keys in blocks with block maxima
    eligibility.py   what a task requires, resolved to pools
    fleet.py         ids to records, records to pools, the one place where a key is computed
    capacity.py      how many slots are taken: tracked (exact) and sampled (estimated)
    health.py        thresholds, ageing, hysteresis
    speed.py         how fast a worker is, in at most 16 groups
    ejection.py      does a worker fail out of line? The test
    allowance.py     how many of its slots may a worker use now?
    timetable.py     who works when: from a calendar to instants
    agenda.py        when many of them come and go, in columns
    availability.py  when a busy worker will be free
"""
