"""For all tests."""

from hypothesis import settings

# Four processes share the processors with each other, and perhaps with others: how long an example takes says nothing.
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")
