"""What are the things?

Values of the domain and nothing else: tasks, workers' samples, predictions, decisions, outcomes, clocks, errors. All
are immutable. This folder imports the standard library only, and no part of it that has effects.

Most values here are NamedTuples rather than frozen dataclasses: they are made on the hot path, where a frozen dataclass
of ten fields costs about 1.9 us and a tuple 0.4. The enumerations carry the numbers of their namesakes in
`proto/scheduler_api/v1`, so that the codec passes them through; a contract test holds the two together.
"""
