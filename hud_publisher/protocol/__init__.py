"""The protocol between training, Redis and the web tier, without I/O outside of its package `transport`.

`keys` names the keys, `values` cleans and merges fields, `entries` and `batch` encode entries, `images` reads picture
headers, `scripts` builds `ScriptCall`s, `replies` parses their replies, `settings` reads the environment, `errors`
defines every error, and `transport` makes the connections that both sides need.
"""
