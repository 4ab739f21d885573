"""What every folder of tests shares: real servers to start, kill, stop and restart."""

pytest_plugins = ["tests.fixtures.servers", "tests.fixtures.web", "tests.fixtures.browser"]
