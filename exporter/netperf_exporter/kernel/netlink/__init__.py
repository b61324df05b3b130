"""Netlink: our own sockets for the dumps of every scrape."""
