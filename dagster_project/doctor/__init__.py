"""What is wrong with a set-up, and how to mend it: each check looks at one thing, changes nothing, and asks no network.

`machine` looks at what programs run on, `warehouse` at what was kept, `sources` at what is read. The command is in
`commands.doctor`.
"""
