"""The decisions: pure functions of a workload and predictions. No I/O, no clock, no chance."""
