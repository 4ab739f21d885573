"""The monitor: reads each live run once and writes its annotations, on any replica, with or without viewers.

Allowed imports: hud_publisher.protocol and hud_web.store.
"""
