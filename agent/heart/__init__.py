"""The heart: stimuli in, effects out, all learned state inside, no I/O at all."""
