"""Whether this host has what a cluster's services need, looked at before they are started. Nothing is changed."""
