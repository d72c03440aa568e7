"""Sources: addresses from which the worker fetches files, and imports what has changed.

* ``editing`` writes what people set, ``states`` says what they see.
* ``worker`` takes up due sources: it fetches the file and starts a run of it.
* ``fetch`` is the HTTP request, within the same policy as the URL checker's.
* ``review`` decides whether a checked run of a source is imported without a person.
* ``gone`` remembers which rows a source brought, in the transaction of the import.
"""
