# The fault suite and the soak; included by the Makefile.

.PHONY: test-faults test-faults-quick soak

test-faults-quick: .make/dev system # a part of `make test`
	$(PYTEST) tests/faults -m "not long"

test-faults: .make/dev system ## Break everything at random: HUD_FAULT_SEED=, HUD_FAULT_SCHEDULES=20
	$(PYTEST) tests/faults

soak: .make/dev system ## Two hours in twelve minutes, nothing may grow: SOAK_MINUTES=12 SOAK_WARM_UP=10 SOAK_VIEWERS=200
	$(BIN)/python -m tests.faults.soak
