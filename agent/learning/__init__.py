"""Learners of throughput, latency, memory and power, one event at a time, without any I/O."""
