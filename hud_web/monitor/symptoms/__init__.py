"""Symptoms: the courses of a run's quantities, their trends, and the rules of the known failure patterns.

Allowed imports: hud_publisher.protocol, hud_web.store, and of hud_web.monitor only `detectors` and `memory`.
"""
