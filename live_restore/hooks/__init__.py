"""Where acquisition programs hand over what they record; nothing here may hold one up."""
