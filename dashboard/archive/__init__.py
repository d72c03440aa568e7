"""The archive of an organization: everything in one ZIP file, and its way back (docs/backup.md).

``contents``  what is in it, and its limits
``writing``   writes it as a stream
``reading``   opens one as untrusted input
``rows``      validates its lines
``loading``   brings it into an empty organization
"""
