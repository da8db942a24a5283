"""All that a plan was made from, kept between runs so that a fresh process takes up only what has changed since.

Owns: the tables on disk (`shelves`), what of a planner and of a loader they hold (`planning`, `documents`), and when
they may be believed (`memory`). Must not go here: deciding; a planner that was taken up is the core's own, on other
tables.
"""
