"""The index of all runs: `/api/runs` lists and searches them, `/stream/runs` sends the live ones.

Allowed imports: hud_publisher.protocol, and hud_web.access, hud_web.http, hud_web.live, hud_web.store.
"""
