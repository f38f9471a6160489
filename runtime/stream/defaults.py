"""What a stream starts with when nothing is said: docs/smoothing.md has the measurements. Nothing is imported here."""

#: Time from one decision to the next.
HOP_MS = 250.0

#: Time constant of the exponential average, or length of the moving one.
SMOOTHING_S = 3.0

#: Probabilities at which a scene is taken, and under which it is given up.
ENTER, LEAVE = 0.6, 0.15
