"""The endpoints for reading and writing, history, export and metrics, and their OpenAPI document.

Allowed imports: hud_publisher.protocol, hud_web.store, hud_web.http, hud_web.access, hud_web.monitor, hud_web.doctor
and hud_web.live.
"""
