"""What a person watches: the terminal (`terminal`)."""
