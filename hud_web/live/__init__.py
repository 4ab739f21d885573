"""The live stream: one tailer and one hub for each channel with viewers, and the events that each viewer gets.

Allowed imports: hud_publisher.protocol, hud_web.store, hud_web.http, hud_web.access and hud_web.monitor.
"""
