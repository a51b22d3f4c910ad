"""What certificates mean: purposes, releases, trust stores, roles, import rules. Pure values and rules."""
