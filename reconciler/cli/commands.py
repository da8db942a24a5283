"""The table of commands: what there is, what it is for, how it is used.

Owns: names, the words of every help page, and which module runs a command. The reference and the completions are
generated from this. Must not go here: imports of anything at all.
"""

from __future__ import annotations

WRITE, PLAN, LOOK, STEER, REPAIR, OTHER = GROUPS = (
    "Write what you want",
    "See what would happen, and let it",
    "Look",
    "Steer",
    "Look after the controller",
    "Other",
)


class Command:
    """One command. Its arguments are added by `arguments.add_<name>`. Not a NamedTuple: importing typing costs the
    start of every run three milliseconds."""

    __slots__ = ("examples", "group", "name", "paragraph", "run", "summary")

    def __init__(
        self, name: str, group: str, summary: str, paragraph: str, examples: tuple[str, ...], run: str
    ) -> None:
        self.name = name
        self.group = group
        self.summary = summary
        self.paragraph = paragraph
        self.examples = examples
        self.run = run
        """`module:function`, imported only when chosen; takes the parsed arguments, gives the exit code."""


COMMANDS = (
    Command(
        "init",
        WRITE,
        "start a repository of specs",
        "Write a small tree of specs to start from, with a new identity for the datacenter.",
        ("trueup init ams1", "trueup -C ams1 plan --dirty"),
        "reconciler.cli.authoring:init",
    ),
    Command(
        "validate",
        WRITE,
        "find every mistake in the specs, offline",
        "Read the whole tree and tell every mistake at its file, line and column, in one run. No node is asked.",
        ("trueup validate", "trueup validate ~/ams1"),
        "reconciler.cli.authoring:validate",
    ),
    Command(
        "fmt",
        WRITE,
        "bring the specs into one style",
        "Rewrite the specs in one layout. Comments are kept.",
        ("trueup fmt", "trueup fmt --check"),
        "reconciler.cli.authoring:fmt",
    ),
    Command(
        "schema",
        WRITE,
        "print JSON Schemas, for editors",
        "Print the JSON Schema of a kind, or write all of them where your editor finds them.",
        ("trueup schema Machine",),
        "reconciler.cli.authoring:schema",
    ),
    Command(
        "plan",
        PLAN,
        "show what would happen, worst first",
        "Read the specs at a commit, look at every node, and show what would be done, worst first. Nothing is changed. "
        "A plan that is kept (--out) or told by its digest can be applied exactly as it was shown.",
        (
            "trueup plan",
            "trueup plan --dirty                     # what I am editing, before I commit it",
            "trueup plan --out ams1.plan && trueup apply ams1.plan",
            "trueup plan --detailed-exitcode         # for CI: 0 nothing to do, 2 changes",
        ),
        "reconciler.cli.planning:plan",
    ),
    Command(
        "apply",
        PLAN,
        "do exactly what a plan says",
        "Apply a kept plan, or plan anew, show it and ask. Each step is proved on its node before it runs; what "
        "no longer fits is left out and planned anew. Ctrl-C ends the steps in hand and stops; the next apply "
        "goes on from there.",
        (
            "trueup apply",
            "trueup apply ams1.plan",
            "trueup apply 7c1e5a09 --yes             # read in a pull request: if that is still the plan",
        ),
        "reconciler.cli.applying:apply",
    ),
    Command(
        "drift",
        PLAN,
        "show what was changed on the nodes by hand",
        "Compare what was applied last with what the nodes hold now, and tell who changed what where the node "
        "knows it. Nothing is changed.",
        ("trueup drift", "trueup drift acme/web-3", "trueup drift --detailed-exitcode"),
        "reconciler.cli.planning:drift",
    ),
    Command(
        "heal",
        PLAN,
        "put back what was changed by hand",
        "Plan and apply only what takes drift back: the way back to git. The other way is to write the change "
        "into git.",
        ("trueup heal acme/web-3", "trueup heal --all"),
        "reconciler.cli.applying:heal",
    ),
    Command(
        "undo",
        PLAN,
        "go back to the revision applied before",
        "Make the commit that brings back the tree applied before the last one, so that the loop agrees with you; then "
        "plan and apply it as usual. With --print no commit is made: what it is about is on hold until one comes, or "
        "until `trueup resume`.",
        ("trueup undo", "trueup undo --print"),
        "reconciler.cli.reverting:undo",
    ),
    Command(
        "restore",
        PLAN,
        "bring back what was removed, with its data",
        "A destroyed machine waits in quarantine. Make the commit that brings its document back; the next plan "
        "restores the same machine, with its data and addresses. With --print no commit is made: the machine is on "
        "hold (it is not purged either) until one comes, or until `trueup resume`.",
        ("trueup restore acme/web-3",),
        "reconciler.cli.reverting:restore",
    ),
    Command(
        "status",
        LOOK,
        "how things stand, on one page",
        "The revision in force, what differs, what is held and why, nodes that do not answer, what is in quarantine.",
        ("trueup status", "trueup status --json"),
        "reconciler.cli.looking:status",
    ),
    Command(
        "get",
        LOOK,
        "list things of one kind",
        "List what is wanted and what is there, side by side. `get node` tells what each node can do.",
        ("trueup get machines", "trueup get node", "trueup get machine --unmanaged", "trueup get acme/web-1 --json"),
        "reconciler.cli.looking:get",
    ),
    Command(
        "explain",
        LOOK,
        "why a thing is as it is, and where it is",
        "Tell of one thing where it is written, what it resolves to, where it lives and why, why each other node was "
        "not taken, and what the next plan would do.",
        ("trueup explain acme/web-1", "trueup explain Network/acme/app"),
        "reconciler.cli.looking:explain",
    ),
    Command(
        "exec",
        LOOK,
        "run a command in a machine",
        "Run one command in a machine and end with its exit code.",
        ("trueup exec acme/web-1 -- ip address",),
        "reconciler.cli.consoles:execute",
    ),
    Command(
        "console",
        LOOK,
        "attach to a machine's console",
        "Attach this terminal to the console of a machine.",
        ("trueup console acme/web-1",),
        "reconciler.cli.consoles:console",
    ),
    Command(
        "logs",
        LOOK,
        "show a machine's console log",
        "Show the last lines that a machine wrote to its console: what it said when it did not come up.",
        ("trueup logs acme/web-1", "trueup logs acme/web-1 -n 500"),
        "reconciler.cli.consoles:logs",
    ),
    Command(
        "observe",
        LOOK,
        "write down what the nodes hold, for planning elsewhere",
        "Write a dated observation without secrets. A plan can be made from it where no node can be reached, as in CI.",
        ("trueup observe --out ams1.observation", "trueup plan --observation ams1.observation"),
        "reconciler.cli.looking:observe",
    ),
    Command(
        "pause",
        STEER,
        "leave a thing or a node alone for a while",
        "Whatever git says, leave it alone until the time is over. Every plan shows the pause and its reason. It "
        "counts at once, and is written on the thing itself as soon as its node can be written to, so that another "
        "controller leaves it alone too; the pause of a node is remembered here only.",
        (
            "trueup pause acme/web-3 --for 2h --reason 'looking at a memory leak'",
            "trueup pause Node/edge1 --for 1d --reason 'new disks'",
        ),
        "reconciler.cli.steering:pause",
    ),
    Command(
        "resume",
        STEER,
        "end a pause, or a hold",
        "End a pause before its time; or what undo, restore or break-glass keep on hold: git is followed again.",
        ("trueup resume acme/web-3",),
        "reconciler.cli.steering:resume",
    ),
    Command(
        "pin",
        STEER,
        "write allocated nodes and addresses into git",
        "What trueup chose for a machine, its node and addresses, is remembered but not written in your specs. `pin` "
        "writes it there; the commit is yours.",
        ("trueup pin acme/web-1", "trueup pin acme/db --addresses"),
        "reconciler.cli.pinning:pin",
    ),
    Command(
        "adopt",
        STEER,
        "take over what was made by hand",
        "Write the documents that describe what people made on a node, as few and as short as may be. Commit them, and "
        "the same command plans the taking over: marks are written, and nothing else on the node is changed.",
        ("trueup adopt inc --tenant acme", "git add -A && git commit -m 'what is there' && trueup adopt inc"),
        "reconciler.cli.adopting:adopt",
    ),
    Command(
        "forget",
        STEER,
        "stop managing a thing, and leave it as it is",
        "Drop the marks, leave the object. A document that is still there would make a new one: remove it first. The "
        "document of a node may stay where another node answers in its place (reimaged, replaced): that one is claimed "
        "by the next plan, and what was on the old one is made anew.",
        ("trueup forget acme/legacy", "trueup forget Node/edge9"),
        "reconciler.cli.steering:forget",
    ),
    Command(
        "accept",
        STEER,
        "vouch for a revision that does not follow from the last, or for the clock",
        "After a force push, or from another clone, nothing shows that what is missing was removed on purpose, so "
        "every deletion is held. `accept` says that this revision is meant as it is. `--clock` says that the clock is "
        "right, and was when things were put into quarantine: what is held because their time is not proved to have "
        "passed is purged once the clock says that it has.",
        (
            "trueup accept 9f2c41d --reason 'history was rewritten, I compared the trees'",
            "trueup accept --clock --reason 'the host was off for a week'",
        ),
        "reconciler.cli.steering:accept",
    ),
    Command(
        "run",
        REPAIR,
        "the loop: follow git and the nodes by itself",
        "Look at git and the nodes, plan, and do what the switches `follow` and `drift` in the datacenter's document "
        "allow. SIGTERM ends the steps in hand and stops.",
        ("trueup run", "trueup run --once"),
        "reconciler.cli.loop:run",
    ),
    Command(
        "converge",
        REPAIR,
        "ask a running loop to look now",
        "Wake the loop that runs for this datacenter.",
        ("trueup converge --reason 'merged #41'",),
        "reconciler.cli.loop:converge",
    ),
    Command(
        "journal",
        REPAIR,
        "verify, rebuild or show the journal",
        "`verify` proves the hash chain. `rebuild` restores ownership, bindings and addresses from git and the nodes "
        "when the state folder was lost; budgets count as spent for one window. `show` tells the last entries.",
        ("trueup journal verify", "trueup journal rebuild", "trueup journal show --last 50"),
        "reconciler.cli.keeping:journal",
    ),
    Command(
        "sim",
        OTHER,
        "drive a simulated fleet",
        "Make a fleet of simulated nodes in one file, and let things happen to it: slowness, faults, drift.",
        (),
        "reconciler.cli.sim:run",
    ),
    Command(
        "completion",
        OTHER,
        "print a completion script for your shell",
        "Print a script that completes commands, options and refs. Refs are those of the commit, if that was planned, "
        "and of the journal, or else what the files seem to declare; no node is asked.",
        (
            "trueup completion bash > ~/.local/share/bash-completion/completions/trueup",
            "trueup completion zsh > ~/.zfunc/_trueup",
            "trueup completion fish > ~/.config/fish/completions/trueup.fish",
        ),
        "reconciler.cli.completion:run",
    ),
)

BY_NAME = {command.name: command for command in COMMANDS}

INTRODUCTION = """\
usage: trueup [-C DIR] COMMAND …

A data centre whose only write path is git: commit what you want, read what
would happen, apply exactly that.
"""
CLOSING = """\
Start here:   trueup init, then trueup plan
Learn more:   trueup COMMAND --help
"""


def overview() -> str:
    """What `trueup --help` prints: the commands by what they are for."""
    lines = [INTRODUCTION]
    for group in GROUPS:
        lines.append(f"{group}:")
        lines += [f"  {command.name:<11} {command.summary}" for command in COMMANDS if command.group == group]
        lines.append("")
    return "\n".join([*lines, CLOSING])
