"""The truth test: recorded real runs are replayed, and each text on the page is compared with an oracle.

`record` makes the recordings in `runs/` with the trainers of `trainers` and `loops`; `recording` reads them. Only these
three import training libraries: record, trainers, loops. `replay` plays all recordings into one Redis and notes when
each entry was appended. `watching` takes the pages through their states, and `reading` reads all texts of a page.
`oracle` has the true content of each text: from `past`, the entries that a run had sent by a time, and from `expected`,
the field of each tile.
"""
