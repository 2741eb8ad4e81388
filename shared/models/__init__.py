"""Networks as plain modules with plain arguments; they know no domain."""
