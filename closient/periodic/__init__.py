"""Work that has to be done now and then, by one worker at a time."""
