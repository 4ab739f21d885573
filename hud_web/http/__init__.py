"""HTTP: the connection, requests, answers, tokens, errors and the page's files.

Allowed imports: hud_publisher.protocol and hud_web.store.
"""
