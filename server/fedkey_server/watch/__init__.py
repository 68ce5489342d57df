"""Watching a run, while it goes on or afterwards: `fedkey-server watch`.

In: a run folder, of which only files are read and nothing is written. Out: a screen, a table, or SVG files.
Next stop: `fedkey_server.watch.record`.

Nothing here loads torch or Flower: a run may be watched where none of them would fit beside it.
"""
