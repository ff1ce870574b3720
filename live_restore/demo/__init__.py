"""A simulated low-light time-lapse, restored while it arrives."""
