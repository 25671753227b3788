"""What is measured, and against what; see README.md beside this file. asv collects the classes of every module here."""
