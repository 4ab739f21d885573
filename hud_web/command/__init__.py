"""The commands of `hud`: the server and what it starts, the commands that query a server, and their output.

Allowed imports: hud_publisher.protocol, hud_web.settings, hud_web.store, hud_web.http, hud_web.access, hud_web.doctor,
hud_web.alerts, hud_web.runs, hud_web.live and hud_web.app.
"""
