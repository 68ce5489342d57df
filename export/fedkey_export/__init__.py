"""fedkey's export: turns a trained run into a verified bundle.

A newcomer starts reading at `fedkey_export.graph`.
"""
