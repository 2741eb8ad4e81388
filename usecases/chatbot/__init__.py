"""The customer-service chatbot."""
