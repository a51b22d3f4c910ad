"""One cluster: nodes, certificates with keys, trust stores, phones, trust lists; its database."""
