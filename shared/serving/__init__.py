"""The API and the pages: everything is made from the contract, nothing here knows a use case."""
