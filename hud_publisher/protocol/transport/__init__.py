"""Connections that both sides of the protocol make: to Redis, to this user's `hud up`, and to a HUD server.

Only these modules of the protocol do I/O, and its other modules do not import them. Allowed imports:
hud_publisher.protocol.
"""
