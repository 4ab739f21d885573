"""The protocol between training, Redis and the web tier, without I/O outside of its package `transport`.

`keys` names the keys. `cleaning` makes plain `values` of what a program logs, `entries` encodes them, and a `batch` of
entries goes to Redis by `scripts` or to a HUD server by `batch_body`. `replies` parses the answers of scripts, and
`stored` reads entries back. `images` reads picture headers, `urls` addresses and `settings` the environment. `errors`
defines every error, and `transport` makes the connections that both sides need.
"""
