"""Nouns, states, rules, errors and plans.  Pure: no I/O, no clock, nothing but the standard library."""
