"""The C front end's tables, made from the contract, and its arithmetic in numpy where that is fixed point."""
