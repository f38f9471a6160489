"""What a bundle delivers and why, as one page that needs no network.

`document` is the report as a plain dict, `measure` gathers what has to be measured for it (an export stores that in the
bundle), `summary` says it in sentences. `accuracy`, `cost`, `layers` and `proof` turn sections of the dict into what
the template `page.html` shows, with `plots` drawn in `svg`; `page` puts them together. Read in that order.
"""
