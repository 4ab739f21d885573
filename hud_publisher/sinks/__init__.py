"""The targets of the sender thread: Redis, or a HUD server over HTTP, behind the interface `sink.Sink`.

Imports `hud_publisher.protocol` only. Batches go in, typed replies or errors come out.
"""
