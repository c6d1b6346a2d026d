"""The parts of a chip, one file each: configuration, compiled kernel, energy actions, timing."""
