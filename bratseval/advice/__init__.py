"""What the literature warns of in a challenge: advice for a configuration, and for the references.

A piece of advice is one function from a challenge and what its references show to some `Advice`;
`advisers.ADVISERS` is the whole list and its order. To add one, write a function and name it there. Nothing
here changes a score, and nothing depends on the name of a challenge.
"""
