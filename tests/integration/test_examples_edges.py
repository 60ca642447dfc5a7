"""What the example scripts do with the odd line: small sources written here, no data set needed."""

import json
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest

from tests.integration.test_examples_wire import run

RETAIL = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
WEB = "host\tlogname\ttime\tmethod\turl\tresponse\tbytes\treferer\tuseragent\n"
RUNS = (
    "framework,version,task,type,id,utc,acc,auc,logloss,result,score,norm_score,fold,seed,"
    "duration,models,params,mode,tag\n"
)


def retail_line(
    number: str = "1",
    quantity: str = "1",
    price: str = "1.00",
    *,
    date: str = "2011-01-01 12:00:00",
) -> str:
    return f'{number},85123A,"A ""quoted"", one",{quantity},{date},{price},,France\n'


def web_line(*, seconds: int | str = 0, size: str = "10") -> str:
    return f'a.example\t-\t{seconds}\tGET\t/"x"\t200\t{size}\t\t\n'


def run_line(result: str, utc: str = "2019-04-15T12:49:29", fold: str = "0") -> str:
    return f"tpot,0.9,kc1,binary,t/1,{utc},{result},,,{result},{result},1,{fold},1e9,3.5,,,aws,s\n"


# --- Online Retail -----------------------------------------------------------------------------


def test_lines_of_an_invoice_are_gathered_when_another_one_interrupts_them():
    lines = [retail_line("1", "2"), retail_line("2"), retail_line("1", "-3"), retail_line("C3")]

    ran = run("online_retail", "-", "--summary", given=(RETAIL + "".join(lines)).encode())

    assert [
        (payload["orderId"], [item["quantity"] for item in payload["items"]])
        for payload in ran.payloads
    ] == [("1", [2, -3]), ("2", [1])]
    assert ran.err == "2 order.created, 1 cancellation invoices left out\n"


@pytest.mark.parametrize(
    ("quantity", "price", "total"),
    [
        ("1", "0.005", "0.01"),
        ("1", "0.004", "0.00"),
        ("3", "2.555", "7.67"),  # 7.665
        ("-1", "0.005", "-0.01"),
        ("12", "1", "12.00"),
        ("0", "9.99", "0.00"),
    ],
)
def test_a_total_is_rounded_half_up_to_pence_and_the_price_is_not_touched(quantity, price, total):
    ran = run("online_retail", "-", given=(RETAIL + retail_line("1", quantity, price)).encode())

    (payload,) = ran.payloads
    assert payload["totalAmount"] == total
    assert payload["items"][0]["price"] == price


def test_uk_time_becomes_utc_as_the_time_zone_database_has_it():
    try:
        london = ZoneInfo("Europe/London")
    except ZoneInfoNotFoundError:
        pytest.skip("NOT TESTED, this machine has no time zone database")
    start = datetime(2009, 1, 1, 0, 30)
    # Every 7 hours for four years, and every half hour around each change of the clocks.
    moments = [start + timedelta(hours=7 * step) for step in range(5_000)]
    for change in [datetime(2010, 3, 28), datetime(2010, 10, 31), datetime(2011, 3, 27)]:
        moments += [change + timedelta(minutes=30 * step) for step in range(-8, 12)]
    given = RETAIL + "".join(
        retail_line(str(number), date=f"{moment:%Y-%m-%d %H:%M:%S}")
        for number, moment in enumerate(moments)
    )

    ran = run("online_retail", "-", given=given.encode())

    # The hour that does not exist in March cannot be in a till's log: either answer will do.
    for event, moment in zip(ran.events, moments, strict=True):
        exists = moment.month != 3 or moment.hour != 1
        if exists:
            expected = moment - (moment.replace(tzinfo=london).utcoffset() or timedelta(0))
            assert event["timestamp"] == f"{expected:%Y-%m-%dT%H:%M:%S}.000000Z"


def test_the_clocks_change_at_one_in_the_morning_utc_on_the_last_sundays():
    times = {
        "2011-03-27 00:59:59": "2011-03-27T00:59:59.000000Z",
        "2011-03-27 02:00:00": "2011-03-27T01:00:00.000000Z",
        "2011-10-30 01:59:59": "2011-10-30T00:59:59.000000Z",
        "2011-10-30 02:00:00": "2011-10-30T02:00:00.000000Z",
    }
    lines = [retail_line(str(number), date=date) for number, date in enumerate(times)]

    ran = run("online_retail", "-", given=(RETAIL + "".join(lines)).encode())

    assert [event["timestamp"] for event in ran.events] == list(times.values())


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (retail_line("7", quantity="1.5"), "invoice 7: quantity '1.5' is not a whole number"),
        ("1,2,3\n", "line 2: 3 fields, the header has 8"),
        (retail_line("8", price="free"), "invoice 8: price 'free' is not an amount"),
        (retail_line("8", price="NaN"), "invoice 8: price 'NaN' is not an amount"),
        (retail_line("9", date="today"), "invoice 9: 'today' is not a time"),
    ],
)
def test_an_invoice_line_that_cannot_be_read_is_named(line, complaint):
    ran = run("online_retail", "-", given=(RETAIL + line).encode())

    assert (ran.status, ran.err) == (2, f"-: {complaint}\n")


# --- Web log -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("silence", "sessions"), [(1800, 1), (1801, 2)])
def test_a_session_ends_after_more_than_thirty_minutes_of_silence(silence, sessions):
    log = WEB + web_line(seconds=100) + web_line(seconds=100 + silence)

    ran = run("web_sessions", "-", given=log.encode())

    starts = [event for event in ran.events if event["eventType"] == "session.started"]
    ends = [event for event in ran.events if event["eventType"] == "session.ended"]
    assert len(starts) == len(ends) == sessions
    assert len({event["sessionId"] for event in ran.events}) == sessions


def test_equal_lines_of_a_log_are_two_activities_with_two_ids():
    ran = run("web_sessions", "-", given=(WEB + web_line() + web_line()).encode())

    first, second = [e for e in ran.events if e["eventType"] == "session.activity"]
    assert first["data"] == second["data"]
    assert first["eventId"] != second["eventId"]


def test_a_size_the_server_did_not_know_is_absent_and_quotation_marks_are_kept():
    ran = run("web_sessions", "-", given=(WEB + web_line(size="-")).encode())

    activity = ran.payloads[1]
    assert activity["details"] == {"response": 200}
    assert activity["target"] == '/"x"'


def test_a_line_without_a_time_is_named():
    ran = run("web_sessions", "-", given=(WEB + web_line(seconds="noon")).encode())

    assert (ran.status, ran.err) == (2, "-: line 2: 'noon' is not a time in seconds\n")


def test_a_log_that_goes_back_in_time_is_refused_with_the_line():
    log = WEB + web_line(seconds=5) + web_line(seconds=4)

    ran = run("web_sessions", "-", given=log.encode())

    assert ran.status == 2
    assert ran.err == ("-: line 3: is earlier than the line before it; sort the log by time\n")


# --- Webhooks, models, people ------------------------------------------------------------------


def test_numbers_no_double_can_hold_pass_through_a_webhook_as_they_are_written():
    payload = '{"big": 123456789012345678901234567890, "a": 1e400, "b": 1.10 , "c": "\\ud83d"}'
    line = f' {{"payload" : {payload}, "event":"x", "example" :"y"}}\n'

    ran = run("github_webhooks", "-", given=line.encode())

    assert payload.encode() in ran.out
    assert ran.payloads[0]["webhookId"] == "x:y:1"


@pytest.mark.parametrize(
    "line", ["[]", "{}", '{"event":"x","example":"y","payload":{"n":NaN}}', '{"event":"x"', "1 2"]
)
def test_a_line_that_is_no_webhook_is_named(line):
    good = json.dumps({"event": "x", "example": "y", "payload": {}})

    ran = run("github_webhooks", "-", given=f"{good}\n{line}\n".encode())

    assert ran.status == 2
    assert ran.err.startswith("-: line 2: ")


def test_a_failed_run_registers_its_model_and_trains_no_version():
    table = (
        RUNS + run_line("0.25", "2019-04-15T12:00:01", "1") + run_line("", "2019-04-15T12:00:00")
    )

    ran = run("amlb_models", "-", given=table.encode())

    assert [(event["eventType"], event["timestamp"]) for event in ran.events] == [
        ("ml.model.registered", "2019-04-15T12:00:00.000000Z"),
        ("ml.model.version_trained", "2019-04-15T12:00:01.000000Z"),
    ]
    assert ran.payloads[1]["modelVersion"] == "0.9-fold1"
    assert ran.events[1]["data"]["metadata"] == {
        "fold": "1", "seed": "1e9", "duration": "3.5", "mode": "aws", "tag": "s"
    }  # fmt: skip


@pytest.mark.parametrize("number", ["NaN", "Infinity", "0x1", "1_000", "01", ".5", "٣"])
def test_a_metric_that_is_no_json_number_is_refused(number):
    ran = run("amlb_models", "-", given=(RUNS + run_line(number)).encode())

    assert (ran.status, ran.err) == (2, f"-: {number!r} is not a JSON number\n")


def test_a_person_keeps_stray_spaces_and_lacks_what_is_missing():
    table = "unique_id,first_name,surname,dob,city,email,cluster\n7, Ann ,,2000-01-01,Rome,,1\n"

    ran = run("people", "-", given=table.encode())

    assert ran.payloads == [{"userId": "7", "firstName": " Ann "}]
