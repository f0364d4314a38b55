"""One module a verb: the flows that cross rooms."""
