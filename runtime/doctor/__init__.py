"""Whether a microphone is fit to listen with: what is measured on some seconds of it (`findings`), and what that means
for a person (`advice`)."""
