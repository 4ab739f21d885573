"""Adapters that show a run of another library without changes to its code; each offers to a `Publisher`.

Only these modules know Gymnasium, Stable-Baselines3 and the OpenAI SDK, and each loads on request. No other package of
hud_publisher imports them.
"""
