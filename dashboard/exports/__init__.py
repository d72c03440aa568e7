"""Files that people and programs download: the rows of a list, or all of an organization.

The pages and the API send the same files. Each is read from one snapshot in constant memory, and
holds one of the few slots of its user or key while it is read (``snapshots``).

``tables``     what is exported of each list
``formats``    CSV and JSON Lines, as pieces of text
``workbook``   XLSX
``responses``  the responses of the pages and the API
"""
