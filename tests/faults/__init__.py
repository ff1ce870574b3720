"""The fault harness: a replayed acquisition, the real daemon as a process, faults, and an audit.

``player``    writes raw files the ways that acquisition programs and copies do
``injection`` what is made to fail inside the daemon's process, told by a file while it runs
``daemons``   starts, kills and stops daemons, each a process of its own
``audit``     what must hold at any moment, and what must hold when all is quiet
``kills``     the long run: SIGKILL at random moments
"""
