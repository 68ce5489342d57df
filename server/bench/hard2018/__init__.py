"""Hard et al. 2018 (1811.03604) again: the word LSTM that Gboard federated first, on this project's text.

In: a data folder of `fedkey-server prepare`. Out: a table. Next stop: `hard2018.cifg`.
"""
