"""What happened, for other programs: what an event is (`event`) and where events go."""
