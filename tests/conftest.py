"""Settings for all tests."""

from hypothesis import settings

# A property holds or does not, however slow the machine is today.
settings.register_profile("book", deadline=None, derandomize=True)
settings.load_profile("book")
