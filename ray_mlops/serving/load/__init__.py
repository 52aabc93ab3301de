"""How much an endpoint carries: load that arrives by the clock, the rate at which it is too much, and the size for a rate."""
