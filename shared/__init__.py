"""What every use case stands on: the contract, training, evaluation, reports. Nothing here knows a domain."""
