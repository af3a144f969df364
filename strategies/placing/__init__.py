"""The machinery under `strategies.place`: the problem in numbers, and four ways to attack it.

problem    from a request and predictions to arrays; what a goal and a limit mean
relax      a bound that no placement can exceed, by an assignment to slots
search     a feasible placement: greedy, improved by moves and swaps
subsets    the optimum of a small problem under any contention
milp       the optimum of a larger one, by HiGHS, within a time limit
"""
