"""The keyboard on screen, in Textual: what is shown and pressed, and nothing about words or models.

In: a way to open an engine, and a layout. Out: a person typing. Next stop: `fedkey.ui.app`, and from there
the screen, its widgets and the thread that owns the engine.
"""
