"""Small real runs that fail on purpose, and healthy ones: what the page's first line says of each, and how soon.

`make test-verdicts` runs all of them on a real Redis and a real server (8 min). `runs` holds the programs.
"""
