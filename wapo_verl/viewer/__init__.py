"""The viewer: a local, read-only web page on the records of runs. `wapo-verl view PATH` starts it.

`runs` finds what a folder holds, `completions` reads one step of it, `app` serves both, `export` writes a chosen part
as one file, `static/` is the page (plain modules; nothing is fetched from elsewhere).
"""
