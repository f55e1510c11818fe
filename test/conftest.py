"""What holds for all tests: hypothesis tries the same examples every time."""

from hypothesis import settings

settings.register_profile("deterministic", derandomize=True)
settings.load_profile("deterministic")
