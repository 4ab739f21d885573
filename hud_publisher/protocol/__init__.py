"""The protocol between training, Redis and the web tier, without I/O.

`keys` names the keys, `values` cleans and merges fields, `entries` and `batch` encode what is written, `images` reads
picture headers, `scripts` builds `ScriptCall`s, `replies` reads what they answer, `settings` reads the environment and
`errors` holds every error.
"""
