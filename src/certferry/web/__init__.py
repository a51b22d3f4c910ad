"""OS-Administration-like pages for a cluster, a console for a migration, and a REST API. Holds no rules."""
