"""The index of all runs: what `/api/runs` lists and searches, and what `/stream/runs` shows of the live ones.

Allowed imports: hud_publisher.protocol, and hud_web.access, hud_web.http, hud_web.live, hud_web.store.
"""
