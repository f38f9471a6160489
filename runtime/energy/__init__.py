"""What listening costs in joules."""
