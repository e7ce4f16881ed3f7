"""Pictures of why a case scored as it did.

`drawing.draw` makes one of a case, `finding` finds its files and numbers in a result folder,
`showing.show` does both, and `worst.draw_all` draws many in worker processes. What is decided (`choice`), cut
and colored (`planes`) is apart from reading and from matplotlib (`page`, `panels`), which is imported only
where something is drawn.
"""
