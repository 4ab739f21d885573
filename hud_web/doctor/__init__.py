"""The checks of `hud doctor` and of the server's watch over Redis: each returns findings with a cause and a fix.

Allowed imports: hud_publisher.protocol, hud_web.settings and hud_web.store.
"""
