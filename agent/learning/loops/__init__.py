"""Loops over numbers that take most of the time, compiled to machine code.

Where numpy would take a hundred steps over a few dozen numbers each, starting the steps takes
longer than the numbers do. Such loops are written out here, in functions that take arrays and fill
arrays and know nothing else of what these stand for; Numba (Lam, Pitrou and Seibert 2015) compiles
them. The classes that own the arrays are beside this folder, in modules of the same names.
"""
