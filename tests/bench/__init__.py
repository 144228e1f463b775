"""The benchmark: a running server against the floor of the machine, measured in one run.

``client`` speaks to either of them in the same way, ``floor`` is the least that a turn can be made of, the modules
named after what they measure give figures, and ``__main__`` puts them into one table.
"""
