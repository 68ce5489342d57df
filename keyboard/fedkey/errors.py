"""The one exception that people see.

In: nothing. Out: `UserError`. Next stop: `fedkey.text`.
"""


class UserError(Exception):
    """A mistake in what fedkey was given, told in one sentence: what, where, and what to do.

    The three commands print the message without a traceback and exit with status 2.
    """
