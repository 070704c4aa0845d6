"""A complete relay on one machine: what `tackybox demo` shows and the journey tests drive.

Real parts only: the same daemons, a private sshd, real rsync, real associations. What is small is
the world around them: one directory, loopback ports, keys made on the spot.
"""
