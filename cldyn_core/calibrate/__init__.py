"""Measures how the infrared camera lies to the visible one, from recorded pairs; writes what `registration` reads."""
