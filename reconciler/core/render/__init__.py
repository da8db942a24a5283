"""Plans and states of affairs as text for people. Pure: the same records give the same bytes.

Owns: what people read. `plan.plan_text` is the door; `colour.coloured` is a pass of its own over finished text.
Must not go here: deciding anything, terminals (cli), JSON (`core.plan.to_json`).

What a node or a repository says is never trusted with the terminal: control characters come out as `\\xNN`.
"""
