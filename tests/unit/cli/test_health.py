"""``eventcore projections health``: exit codes for a probe."""

from tests.unit.cli.conftest import PAID, write_lines


def test_read_models_that_nobody_began_end_with_1(shop):
    answer = shop("projections", "health", "--json")

    assert answer.code == 1
    assert answer.records[0]["ok"] is False
    [projections, feed] = answer.records[0]["checks"]
    assert (projections["name"], projections["ok"], feed["ok"]) == ("projections", False, True)
    assert "has not been created" in projections["problems"][0]


def test_what_is_behind_ends_with_1_and_says_so(folder, shop):
    shop("projections", "run", "--once")
    write_lines(folder / "paid.jsonl", PAID)
    shop("ingest", "paid.jsonl")

    answer = shop("projections", "health")

    assert answer.code == 1
    assert "users is 1 positions and " in answer.out


def test_what_is_current_ends_with_0(shop):
    shop("projections", "run", "--once")

    answer = shop("projections", "health")

    assert answer.code == 0
    assert answer.out.splitlines() == ["✓ projections", "✓ feed"]


def test_the_bound_can_be_given(folder, shop):
    shop("projections", "run", "--once")
    write_lines(folder / "paid.jsonl", PAID)
    shop("ingest", "paid.jsonl")

    assert shop("projections", "health", "--max-lag-seconds", "1e12").code == 0
    assert shop("projections", "health", "--max-lag-seconds", "-1").code == 2


def test_it_creates_nothing(folder, call):
    answer = call("projections", "health", "--json")

    assert answer.code != 0
    assert list(folder.iterdir()) == []
