"""Where acquisition programs hand their runs over; nothing here may ever hold one up."""
