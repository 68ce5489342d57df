"""fedkey's server: text to tokenizer to model to federated rounds.

In: text files. Out: run folders. Next stop: `fedkey_server.corpus`.
"""
