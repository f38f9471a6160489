"""What a bundle delivers and why, as one page that needs no network."""
