"""The pool of browsers in the agent: the page over HTTP, jobs from the bus, events to it."""
