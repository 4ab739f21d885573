"""The way from training to the sender: copies of the caller's values, queues, frame slots, and the sender's report.

Training threads offer, the sender takes; no call of a training thread waits. May import: hud_publisher.protocol and
hud_publisher.once.
"""
