"""Redis as the web tier reads it: its clients, sessions and streams in it, and the forms in which viewers get them.

Allowed imports: hud_publisher.protocol.
"""
