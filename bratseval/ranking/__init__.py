"""Rankings: from a table of scores to places, without images."""
