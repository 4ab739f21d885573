"""The sender: one thread that makes entries of the queued items, batches them and sends them to a sink.

May import: hud_publisher.intake, hud_publisher.sinks and hud_publisher.protocol.
"""
