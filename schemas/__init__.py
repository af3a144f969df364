"""The words of Placewise: events, requests, replies, published state, topics and errors.

This package depends on pydantic alone. Everything that crosses a border of the agent (bus,
websocket, HTTP, command line, event log) is one of its types, decoded once, at the edge.
"""
