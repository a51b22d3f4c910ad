"""The sockets of a node: TVS, TFTP, HTTP 6970, SIP registrar; and the SFTP server of the lab."""
