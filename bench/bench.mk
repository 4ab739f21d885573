# Benchmarks: ratios measured side by side, never asserted in tests. Each writes its RESULTS file beside it.

#: The other trackers live in a folder of their own, outside the project.
BENCH_PEERS ?= /tmp/hud-peers

.PHONY: bench bench-runs bench-wall bench-publisher bench-faults bench-page bench-rllib bench-frame bench-wall-page

bench-wall: .make/dev system ## Cost of the wall for a server: 200 live runs (2 min)
	$(BIN)/python -m bench.wall --write

bench-publisher: .make/dev system ## Cost of one call on the training thread, beside other trackers
	$(PYTHON) -m venv $(BENCH_PEERS)
	$(BENCH_PEERS)/bin/pip install --quiet --requirement bench/peers.txt
	$(BIN)/python bench/publisher.py --peers $(BENCH_PEERS)/bin/python --write

bench-faults: .make/dev system ## Effects on training while Redis or the HUD server is killed, frozen, slow or full
	$(BIN)/python bench/faults.py --write

bench-rllib: .make/rllib .make/dev system ## What HudCallbacks cost a PPO run: paired runs with and without, watched at 20 fps
	$(BIN)/python bench/rllib.py --write

bench-frame: .make/rllib .make/dev system ## Cost of one frame for the env runners of an RLlib run (3 min)
	$(BIN)/python bench/frame.py --write

bench-page: .make/dev chromium ## Cost of the page for its viewer: main thread, memory, frame to paint, first picture (10 min)
	$(BIN)/python bench/page.py --write

bench-wall-page: .make/dev chromium system ## Cost of the wall of 200 runs for its viewer: main thread, age of pictures, memory (13 min)
	$(BIN)/python -m bench.wall_page --write

bench-runs: .make/dev system ## Cost per event and latency of 1, 100 and 1,000 channels on one replica (5 min)
	$(BIN)/python bench/runs.py --write

## Fan-out, latency, slow viewers, restarts and history, beside nginx with nchan, a bare C loop and an sse-starlette app

bench: .make/dev chromium .make/bench/load .make/bench/bare .make/peers/ok ## What a viewer costs, beside other servers (20 min)
	bench/install-nchan.sh
	$(BIN)/python bench/run.py --write

.make/bench/%: bench/c/%.c
	@mkdir -p .make/bench
	$(CC) -O2 -Wall -Wextra -o $@ $<

.make/peers/ok: | .make/venv
	@$(PIP) install --quiet --no-deps --target .make/peers sse-starlette==3.7.0
	@touch $@
