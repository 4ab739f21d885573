"""Access: checks of requests, limits for each address, and the log of requests.

Allowed imports: hud_publisher.protocol, hud_web.store and hud_web.http.
"""
