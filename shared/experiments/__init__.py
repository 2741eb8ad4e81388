"""Several runs of one use case: compared, over shares of the data, over settings."""
