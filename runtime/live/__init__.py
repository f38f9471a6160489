"""What a person watches while the program listens: a view in the terminal and a page for browsers.

Both are observers that only leave what they are told in a `mailbox`; threads of their own draw it, so that a slow
terminal or network never holds up the audio. `history` remembers what a scene was when, `vitals` reads latency, load
and temperature, `spectrogram` and `palette` make pictures of log-mel frames.

The terminal: `terminal` (the thread), `strip` (its spectrogram). The page: `web`
(what is sent), `server` (connections), `gate` (who may connect), `control` (what a browser may change), `assets` and
the folder `page` (what a browser loads).
"""
