"""From a template to a use case of one's own: a renamed copy, its configuration, a project around it."""
