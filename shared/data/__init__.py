"""Reading the user's data: named public data sets, and tables of any common format."""
