"""`make proof`: every proof there is, for a given time, and one last line for machines."""
