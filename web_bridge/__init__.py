"""The browsers: a websocket server whose clients are tabs, and the pool that gives them work.

`protocol` and `pool` do no I/O and know no clock: what happens is told to them together with
the time, and they say what is to be done. `server` is the thin shell around both. `browser/`
is the page that runs in the tab.
"""
