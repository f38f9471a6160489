"""Audio in, decisions out: the running classifier (`stream`), how decisions are steadied (`smoothing`) and what each
stage costs (`meters`)."""
