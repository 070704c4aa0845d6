"""The journal: evidence of every step of every image; never a dependency of any of them.

`recorder.Recorder` takes events in, `shipper.Shipper` carries them on to MySQL or MariaDB,
`reports` answers questions from either. The only door to sqlite3 and PyMySQL; imports nothing
of ours.
"""
