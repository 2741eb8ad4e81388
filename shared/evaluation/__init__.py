"""Evidence: intervals around every number."""
