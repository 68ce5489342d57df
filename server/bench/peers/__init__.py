"""What a user might choose instead of fedkey, each behind the same two faces: words shown, and words'
likelihood.

In: files of other people's packages, or counts of a text. Out: predictors for `fedkey.simulate`. Next stop:
`peers.word_model`.
"""
