"""Is the fleet all right? Built-in rules, each with a state and hysteresis.

    rules     what is watched: one row per rule, with its limits, its duration and what to do about it
    readings  the figures the rules go by, read from the core and the stores in short steps
    window    how much a count has risen lately
    board     the states: seen, seen for long enough, over for long enough
    settings  limits and durations that are set otherwise, rules that are off

A rule is seen when its figure reaches the threshold (pending), raised when that has lasted, and cleared when the figure
has been at the clear threshold for a while. Between the two limits everything stays as it is, so a figure that swings
around one limit raises one alert and not fifty. Prometheus does the same over scraped series (deploy/rules); these work
without it, know workers, task types and stores by name, which metrics must not carry, and are told as events.

Synchronous and on whatever clock it is given: `rpc/lookout.py` looks every few seconds, tests look when they like. May
import: the core, to look at it, never to change it.
"""
