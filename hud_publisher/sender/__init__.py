"""The sender: one thread that makes entries of the queued items, batches them and sends them to a sink.

`compose` leads from items to entries, `loop` from entries to the sink; neither imports the other. May import:
hud_publisher.intake, hud_publisher.sinks and hud_publisher.protocol.
"""
