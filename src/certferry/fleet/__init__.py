"""Phones over real sockets: the boot machine of certferry.phone, driven, one or hundreds at a time."""
