"""The C++ engine: built at installation where there is a compiler, found by library.py."""
