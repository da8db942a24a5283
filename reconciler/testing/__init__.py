"""For people who write drivers, and for our own tests: ports in memory and the conformance kit.

    ports        Journal, Clock, Source, PlanStore, Secrets, Files, Fencing in memory
    harness      what a driver author says of their engine: samples, and the hand that changes things behind our back
    scene        the workbench of one test: changes from (observed, wanted), carried out step by step
    conformance  the kit; a test module imports all of it and has a fixture `harness`

Must not go here: anything that product code needs.
"""
