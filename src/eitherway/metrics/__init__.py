"""What is counted and written about requests. A leaf: imports no other room."""
