"""Alerts beyond the browser: the configuration, the targets, and the delivery of the alerts that the monitor stored.

The package and the library Apprise are loaded only if HUD_ALERTS is set. Allowed imports: hud_publisher.protocol,
hud_web.monitor and hud_web.store.
"""
