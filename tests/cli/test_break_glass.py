from __future__ import annotations

from reconciler.cli.exits import Exit

from .conftest import Run, commit, edit, git


def test_past_the_branch_is_applied_only_with_a_reason_and_left_alone_until_it_is_merged(run: Run) -> None:
    assert run("apply", "--yes").code == Exit.DONE
    git("switch", "--quiet", "-c", "hot")
    edit("packages.yaml", "memory: 512Mi", "memory: 768Mi")
    commit("More, at once")
    refused = run("apply", "--yes")
    assert (refused.code, "it can be planned, not applied" in refused.err) == (Exit.ERROR, True)
    assert run("apply", "--break-glass", "--yes").code == Exit.ERROR
    assert run("apply", "--break-glass", "--reason", "they swap", "--yes").code == Exit.DONE

    git("switch", "--quiet", "main")
    waiting = run("plan")
    assert "was applied past the branch: they swap; merge it" in waiting.out
    assert "Nothing to do. 3 held." in waiting.out
    assert run("run", "--once").code == Exit.DONE
    assert run("plan").out.count("held") == waiting.out.count("held")

    git("merge", "--quiet", "hot")
    assert "held" not in run("apply", "--yes").out
    assert run("plan", "--detailed-exitcode").code == Exit.DONE


def test_what_was_applied_past_the_branch_is_healed_by_name_and_then_is_like_all_others(run: Run) -> None:
    run("apply", "--yes")
    git("switch", "--quiet", "-c", "hot")
    edit("packages.yaml", "memory: 512Mi", "memory: 768Mi")
    commit("More, at once")
    run("apply", "--break-glass", "--reason", "they swap", "--yes")
    git("switch", "--quiet", "main")
    assert run("heal", "shop/web-1", "--yes").code == Exit.DONE
    rest = run("plan").out
    assert "shop/web-[2-3]" in rest
    assert "Nothing to do. 2 held." in rest
    run("sim", "drift", "shop/web-1", "memory=256Mi")
    assert "rule drift" in run("plan").out


def test_files_that_are_not_committed_are_not_applied_past_the_branch_either(run: Run) -> None:
    edit("packages.yaml", "memory: 512Mi", "memory: 768Mi")
    told = run("apply", "--dirty", "--break-glass", "--reason", "now", "--yes")
    assert (told.code, "only a commit is applied" in told.err) == (Exit.ERROR, True)
