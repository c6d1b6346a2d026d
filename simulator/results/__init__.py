"""What a run leaves: tables, figure, timeline, and their prices."""
