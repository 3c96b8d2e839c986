"""The demo: a scenario of requests through the real mesh, each with the answer it must get and the reason for it.

`scenario` says what is asked and expected, `clients` asks, `evidence` finds out who answered and why, `report` prints.
"""
