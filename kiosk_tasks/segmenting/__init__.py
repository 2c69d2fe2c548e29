"""How models are asked for cells: shared by the job types that segment."""
