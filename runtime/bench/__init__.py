"""What `tinyscene bench` measures."""
