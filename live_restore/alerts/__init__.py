"""Messages about a run that needs a person: rules, and who is told. A process of its own."""
