"""What `tackybox check` tries, one module for each thing that a box needs.

Promises: every try ends within a bounded time; one that does not work is a Finding that says what
to do, never an exception; but for `relay`, nothing is left changed.
"""
