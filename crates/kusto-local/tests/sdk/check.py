"""Microsoft's Python and Node SDKs against kusto-local, check by check.

    check.py --binary target/debug/kusto-local [--azurite PROGRAM] [--node-modules FOLDER]

Each line says `ok` or `FAILED`, the storage, the SDK and what was checked. The exit status is 1 when anything failed.
The servers are started here, on free ports and in folders of their own, by plain HTTP: that is what the SDKs allow
for loopback addresses without further setup.
"""

import argparse
import gzip
import io
import json
import os
import pathlib
import random
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.parse
import urllib.request
import uuid

import pandas
from azure.kusto.data import KustoClient, KustoConnectionStringBuilder
from azure.kusto.data.data_format import DataFormat
from azure.kusto.data.exceptions import KustoApiError, KustoServiceError
from azure.kusto.ingest import (
    ColumnMapping,
    FileDescriptor,
    IngestionMappingKind,
    IngestionProperties,
    KustoStreamingIngestClient,
    ManagedStreamingIngestClient,
    QueuedIngestClient,
    ReportLevel,
    ReportMethod,
    StreamDescriptor,
)
from azure.kusto.ingest.status import KustoIngestStatusQueues

RECORDS = [
    {"tag": "app", "timestamp": "2026-11-23T20:41:07.123456Z", "log": {"n": 1, "text": 'a "quoted", text\nü'}},
    {"tag": "app", "timestamp": "2026-11-23T20:41:08Z", "log": {"n": 2, "deep": [True, None, 1.5]}},
    {"tag": "web", "timestamp": "2026-11-23T20:41:09Z", "log": {}},
]
# Without a line feed at the end, as files often are.
LINES = "\n".join(json.dumps(record) for record in RECORDS).encode()


class Server:
    """A kusto-local, which ends with the block."""

    def __init__(self, binary, *options):
        self.folder = tempfile.TemporaryDirectory()
        command = [binary, "--dir", self.folder.name, "--plain-http", "--engine", "0", "--database", "db", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.said = {}
        for line in self.process.stdout:
            if line.strip() == "ready":
                break
            key, value = line.strip().split("=", 1)
            self.said[key] = value
        self.dm = self.said["ingestion_endpoint"]
        self.engine = self.said["engine_endpoint"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.folder.cleanup()

    def token(self):
        form = {
            "grant_type": "client_credentials",
            "client_id": self.said["client_id"],
            "client_secret": self.said["client_secret"],
            "scope": "https://kusto.kusto.windows.net/.default",
        }
        url = f"{self.said['authority_host']}/{self.said['tenant_id']}/oauth2/v2.0/token"
        body = urllib.parse.urlencode(form).encode()
        with urllib.request.urlopen(url, body) as answer:
            return json.load(answer)["access_token"]

    def builder(self, url):
        return KustoConnectionStringBuilder.with_token_provider(url, self.token)

    def get(self, path):
        with urllib.request.urlopen(self.dm + path) as answer:
            return json.load(answer)

    def fault(self, **fault):
        request = urllib.request.Request(self.dm + "/faults", json.dumps(fault).encode())
        urllib.request.urlopen(request).close()

    def query(self, text):
        with KustoClient(self.builder(self.engine)) as client:
            return [row.to_list() for row in client.execute("db", text).primary_results[0]]

    def command(self, text):
        with KustoClient(self.builder(self.engine)) as client:
            return [row.to_list() for row in client.execute_mgmt("db", text).primary_results[0]]

    def table(self, name, columns="tag:string, timestamp:datetime, log:dynamic"):
        self.command(f".create table {name} ({columns})")
        return name

    def ingestions(self, table, count):
        """Waits until so many messages for the table were dealt with."""
        end = time.monotonic() + 30
        while time.monotonic() < end:
            found = [record for record in self.get("/local/ingestions") if record["table"] == table]
            if len(found) >= count:
                return found
            time.sleep(0.02)
        raise AssertionError(f"{len(found)} of {count} messages for {table} after 30 s: {found}")

    def queued(self):
        return QueuedIngestClient(self.builder(self.dm))


def properties(table, format=DataFormat.JSON, **more):
    return IngestionProperties(database="db", table=table, data_format=format, **more)


def stream(data=LINES):
    return StreamDescriptor(io.BytesIO(data), source_id=uuid.uuid4())


def equal(rows):
    """The rows of a table with the columns of RECORDS are RECORDS."""
    assert len(rows) == len(RECORDS), rows
    for row, record in zip(sorted(rows, key=lambda row: row[1]), RECORDS):
        tag, at, log = row
        assert tag == record["tag"], row
        assert pandas.Timestamp(at) == pandas.Timestamp(record["timestamp"]), row
        assert (json.loads(log) if isinstance(log, str) else log) == record["log"], row


def nothing_wrong(records):
    for record in records:
        assert record["status"] == "Succeeded" and not record["complaints"], record


# Over each storage.


def queued_stream_in_each_format(server):
    csv = "".join(
        ",".join('"' + field.replace('"', '""') + '"' for field in (r["tag"], r["timestamp"], json.dumps(r["log"]))) + "\n"
        for r in RECORDS
    )
    bodies = {DataFormat.JSON: LINES, DataFormat.MULTIJSON: json.dumps(RECORDS, indent=1).encode(), DataFormat.CSV: csv.encode()}
    for format, body in bodies.items():
        table = server.table("Stream" + format.kusto_value)
        with server.queued() as client:
            client.ingest_from_stream(stream(body), properties(table, format))
        # The SDK compresses, and the blob's name ends in .gz.
        records = server.ingestions(table, 1)
        nothing_wrong(records)
        assert records[0]["blob"].endswith(".gz") and records[0]["gzip_members"] == 1, records
        equal(server.query(table))


def queued_file_and_dataframe(server):
    table = server.table("Files")
    path = os.path.join(server.folder.name, "records.json")
    pathlib.Path(path).write_bytes(LINES)
    with server.queued() as client:
        client.ingest_from_file(FileDescriptor(path), properties(table))
    nothing_wrong(server.ingestions(table, 1))
    equal(server.query(table))
    frame = pandas.DataFrame({"s": ["x", 'y "z"'], "n": [1, 2], "b": [True, False], "r": [1.5, -2.0]})
    table = server.table("Frames", "s:string, n:long, b:bool, r:real")
    with server.queued() as client:
        client.ingest_from_dataframe(frame, properties(table, DataFormat.CSV))
    server.ingestions(table, 1)
    assert server.query(f"{table} | order by n asc") == [["x", 1, True, 1.5], ['y "z"', 2, False, -2.0]]


def one_question_for_resources_whatever_the_number_of_blobs(server):
    table = server.table("Cached")
    before = server.get("/local/stats")["requests"]["mgmt"]
    with server.queued() as client:
        for _ in range(3):
            client.ingest_from_stream(stream(), properties(table))
    server.ingestions(table, 3)
    assert server.get("/local/stats")["requests"]["mgmt"] - before == 2


def success_and_failure_are_told_in_the_status_queues(server):
    table = server.table("Told")
    with server.queued() as client:
        statuses = KustoIngestStatusQueues(client)
        told = dict(report_level=ReportLevel.FailuresAndSuccesses, report_method=ReportMethod.Queue)
        good = client.ingest_from_stream(stream(), properties(table, **told))
        server.ingestions(table, 1)
        success = statuses.success.pop()
        assert [str(one.IngestionSourceId) for one in success] == [str(good.source_id)], success
        bad = client.ingest_from_stream(stream(b"[{]"), properties(table, DataFormat.MULTIJSON, **told))
        server.ingestions(table, 2)
        failure = statuses.failure.pop()[0]
        assert str(failure.IngestionSourceId) == str(bad.source_id), failure
        assert (failure.ErrorCode, failure.FailureStatus) == ("BadFormat", "Permanent"), vars(failure)
        assert statuses.success.is_empty() and statuses.failure.is_empty()


def mappings_by_reference_and_inline(server):
    table = server.table("Mapped", "who:string, n:long, at:datetime")
    elements = [
        {"column": "who", "Properties": {"Path": "$.tag"}},
        {"column": "n", "Properties": {"Path": "$.log.n"}},
        {"column": "at", "Properties": {"Path": "$.timestamp"}},
    ]
    server.command(f".create table {table} ingestion json mapping 'm' '{json.dumps(elements)}'")
    kind = dict(ingestion_mapping_kind=IngestionMappingKind.JSON)
    with server.queued() as client:
        client.ingest_from_stream(stream(), properties(table, ingestion_mapping_reference="m", **kind))
        inline = [ColumnMapping("who", "string", path="$.tag"), ColumnMapping("n", "long", path="$.log.n")]
        client.ingest_from_stream(stream(), properties(table, column_mappings=inline, **kind))
        client.ingest_from_stream(stream(), properties(table, ingestion_mapping_reference="none", **kind))
    records = server.ingestions(table, 3)
    nothing_wrong(records[:2])
    assert records[2]["error_code"] == "BadRequest_MappingReferenceWasNotFound", records[2]
    rows = server.query(f"{table} | where isnotnull(at) | project who, n | order by n asc")
    assert rows == [["web", None], ["app", 1], ["app", 2]], rows
    assert server.query(f"{table} | where isnull(at) | count") == [[3]]


def tags_and_ingest_if_not_exists(server):
    table = server.table("Tagged")
    once = dict(ingest_by_tags=["batch1"], ingest_if_not_exists=["batch1"], drop_by_tags=["day"])
    with server.queued() as client:
        for _ in range(2):
            client.ingest_from_stream(stream(), properties(table, **once))
    assert [record["status"] for record in server.ingestions(table, 2)] == ["Succeeded", "Skipped"]
    assert server.query(f"{table} | count") == [[3]]
    tags = server.command(f".show table {table} extents")[0][5]
    assert "ingest-by:batch1" in tags and "drop-by:day" in tags, tags


def a_blob_is_deleted_or_kept_as_the_message_says(server):
    table = server.table("Kept")
    before = server.get("/local/stats")["blobs"]
    with server.queued() as client:
        client.ingest_from_stream(stream(), properties(table))
    server.ingestions(table, 1)
    assert server.get("/local/stats")["queued"] == 0
    # The SDK says RetainBlobOnSuccess: true. Azurite's blobs are not counted here.
    assert server.get("/local/stats")["blobs"] - before == (0 if server.azurite else 1)


def bad_blobs_are_found_out(server):
    table = server.table("Bad")
    with server.queued() as client:
        client.ingest_from_stream(StreamDescriptor(io.BytesIO(b"no gzip"), is_compressed=True, stream_name="a.json.gz"), properties(table))
        cut = StreamDescriptor(io.BytesIO(gzip.compress(LINES)[:-9]), is_compressed=True, stream_name="b.json.gz")
        client.ingest_from_stream(cut, properties(table))
    for record in server.ingestions(table, 2):
        assert record["error_code"] == "BadFormat" and record["rows"] == 0, record
    assert server.query(f"{table} | count") == [[0]]
    assert len(server.command(f".show ingestion failures | where Table == '{table}'")) == 2


def the_failover_defect_of_the_sdk_is_detected(server):
    """Python's SDK does not rewind after a failed upload: the service must see an empty blob or broken gzip."""
    table = server.table("Rewound")
    server.fault(kind="blob", status=409, count=1)
    with server.queued() as client:
        client.ingest_from_stream(stream(), properties(table))
    record = server.ingestions(table, 1)[0]
    assert record["status"] == "Failed" and record["error_code"] in ("BadRequest_EmptyBlob", "BadFormat"), record


# Without storage.


def streaming_is_seen_at_once(server):
    table = server.table("Streamed")
    server.command(f".alter table {table} policy streamingingestion enable")
    with KustoStreamingIngestClient(server.builder(server.engine)) as client:
        client.ingest_from_stream(stream(), properties(table))
    equal(server.query(table))
    with KustoStreamingIngestClient(server.builder(server.engine)) as client:
        compressed = StreamDescriptor(io.BytesIO(gzip.compress(LINES)), is_compressed=True)
        client.ingest_from_stream(compressed, properties(table))
        elements = [{"column": "tag", "Properties": {"Path": "$.log.text"}}]
        server.command(f".create table {table} ingestion json mapping 'm' '{json.dumps(elements)}'")
        client.ingest_from_stream(stream(), properties(table, ingestion_mapping_reference="m", ingestion_mapping_kind=IngestionMappingKind.JSON))
    assert server.query(f"{table} | count") == [[9]]


def streaming_is_refused_as_the_service_does(server):
    off, on = server.table("Off"), server.table("On")
    server.command(f".alter table {on} policy streamingingestion enable")

    def refused(table, data):
        try:
            with KustoStreamingIngestClient(server.builder(server.engine)) as client:
                client.ingest_from_stream(stream(data), properties(table))
        except KustoApiError as error:
            return error.get_api_error().code, error.get_api_error().permanent
        return None

    assert refused(off, LINES) == ("BadRequest_StreamingIngestionPolicyNotEnabled", True)
    assert refused("Nowhere", LINES)[0] == "BadRequest_EntityNotFound"
    too_large = json.dumps({"tag": "x" * (4 << 20)}).encode()
    assert refused(on, too_large)[0] == "Stream_InputStreamTooLarge"
    try:
        with KustoStreamingIngestClient(server.builder(server.dm)) as client:
            client.ingest_from_stream(stream(), properties(on))
        raise AssertionError("the data-management endpoint takes no streams")
    except KustoServiceError as error:
        assert error.http_response.status_code == 404, error


def managed_streaming_falls_back_to_the_queue(server):
    table = server.table("Managed")
    server.command(f".alter table {table} policy streamingingestion enable")
    with ManagedStreamingIngestClient(server.builder(server.engine), server.builder(server.dm)) as client:
        client._set_retry_settings(0.01)
        client.ingest_from_stream(stream(), properties(table))
        assert server.query(f"{table} | count") == [[3]]
        server.fault(kind="stream", status=503, permanent=False, count=3)
        client.ingest_from_stream(stream(), properties(table))
        nothing_wrong(server.ingestions(table, 1))
        assert server.query(f"{table} | count") == [[6]]
        server.fault(kind="stream", status=400, permanent=True, count=3)
        try:
            client.ingest_from_stream(stream(), properties(table))
            raise AssertionError("a permanent error must be raised")
        except KustoApiError as error:
            assert error.get_api_error().permanent


def throttled_commands_are_asked_again(server):
    table = server.table("Throttled")
    server.fault(kind="mgmt", status=429, count=2, permanent=False)
    with server.queued() as client:
        client.ingest_from_stream(stream(), properties(table))
    nothing_wrong(server.ingestions(table, 1))


def answers_are_read_in_both_forms(server):
    table = server.table("Typed", "b:bool, i:int, l:long, r:real, s:string, t:datetime, d:dynamic, g:guid")
    guid = "a0000000-0000-0000-0000-00000000000f"
    server.command(f""".ingest inline into table {table} <|
true,1,9007199254740993,1.5,text,2026-11-23T20:41:07Z,"{{""a"":[1]}}",{guid}""")
    row = server.query(table)[0]
    assert row[:5] == [True, 1, 9007199254740993, 1.5, "text"], row
    assert row[5].isoformat() == "2026-11-23T20:41:07+00:00" and row[6] == {"a": [1]} and row[7] == guid, row
    tables = [row[0] for row in server.command(".show tables")]
    assert table in tables
    with KustoClient(server.builder(server.engine)) as client:
        answer = client.execute_v1("db", f"{table} | count") if hasattr(client, "execute_v1") else client.execute_mgmt("db", ".show version")
        assert answer.primary_results[0].rows_count == 1


def queries_answer_and_name_what_they_do_not_know(server):
    table = server.table("Queried", "k:string, n:long")
    server.command(f".ingest inline into table {table} <|\na,1\nb,2\na,3")
    assert server.query(f"{table} | where k == 'a' and n > 1 | project n") == [[3]]
    assert server.query(f"{table} | summarize count() by k | order by k asc") == [["a", 2], ["b", 1]]
    assert server.query(f"{table} | order by n | take 1") == [["a", 3]]
    try:
        server.query(f"{table} | extend x = 1")
        raise AssertionError("extend is not supported")
    except (KustoApiError, KustoServiceError) as error:
        assert "extend" in str(error), error


def endpoints_know_what_they_are(server):
    with KustoClient(server.builder(server.dm)) as client:
        assert client.execute_mgmt("NetDefaultDB", ".show version").primary_results[0][0]["ServiceType"] == "DataManagement"
    with KustoClient(server.builder(server.engine)) as client:
        assert client.execute_mgmt("NetDefaultDB", ".show version").primary_results[0][0]["ServiceType"] == "Engine"
        try:
            client.execute_mgmt("NetDefaultDB", ".get ingestion resources")
            raise AssertionError("an engine has no ingestion resources")
        except KustoApiError as error:
            assert error.get_api_error().code == "BadRequest_SyntaxError", error


def tokens_and_permissions_are_checked(server):
    def status(url, token):
        request = urllib.request.Request(url, b'{"db":"NetDefaultDB","csl":".get ingestion resources"}')
        request.add_header("content-type", "application/json")
        if token:
            request.add_header("authorization", "Bearer " + token)
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, answer.headers
        except urllib.error.HTTPError as error:
            return error.code, error.headers

    url = server.dm + "/v1/rest/mgmt"
    code, headers = status(url, None)
    assert code == 401 and "authorization_uri" in headers["www-authenticate"]
    assert status(url, "x.y.z")[0] == 401
    token = server.token()
    server.command(".drop database db ingestors ('aadapp=x')")
    assert status(url, token)[0] == 403
    server.command(".add database db ingestors ('aadapp=x')")
    code, headers = status(url, token)
    assert code == 200 and headers["x-ms-activity-id"] and headers["x-ms-client-request-id"]


def a_forged_context_is_refused(server):
    table = server.table("Forged")
    with server.queued() as client:
        client._resource_manager.get_authorization_context = lambda: "forged"
        client.ingest_from_stream(stream(), properties(table))
    assert server.ingestions(table, 1)[0]["error_code"] == "BadRequest_InvalidKustoIdentityToken"


# With servers of their own.


def auth_metadata_in_each_form(binary):
    for form in ("full", "missing", "null"):
        with Server(binary, "--auth-metadata", form) as server:
            table = server.table("T")
            with server.queued() as client:
                client.ingest_from_stream(stream(), properties(table))
            nothing_wrong(server.ingestions(table, 1))


def batches_are_sealed_by_their_policy(binary):
    with Server(binary, "--batching-time", "60000") as server:
        table = server.table("T")
        path = os.path.join(server.folder.name, "records.json")
        pathlib.Path(path).write_bytes(LINES)
        with server.queued() as client:
            # Of a stream the SDK does not know the size, and what has no size is ingested alone.
            client.ingest_from_file(FileDescriptor(path), properties(table))
            time.sleep(0.3)
            assert not server.get("/local/ingestions"), "it waits for others"
            client.ingest_from_file(FileDescriptor(path), properties(table, flush_immediately=True))
            nothing_wrong(server.ingestions(table, 2))
            assert server.query(f"{table} | count") == [[6]]
        server.command(f".alter table {table} policy ingestionbatching '{json.dumps({'MaximumBatchingTimeSpan': '00:00:00.2'})}'")
        with server.queued() as client:
            client.ingest_from_file(FileDescriptor(path), properties(table))
        server.ingestions(table, 3)


def signatures_run_out(binary):
    with Server(binary, "--sas-lifetime", "1") as server:
        table = server.table("T")
        with server.queued() as client:
            client.ingest_from_stream(stream(), properties(table))
            nothing_wrong(server.ingestions(table, 1))
            time.sleep(2.1)
            try:
                client.ingest_from_stream(stream(), properties(table))
                raise AssertionError("the signature has run out")
            except Exception as error:
                assert "AuthenticationFailed" in str(error) or "Blob" in type(error).__name__, repr(error)
        with server.queued() as client:
            client.ingest_from_stream(stream(), properties(table))
        server.ingestions(table, 2)


OVER_EACH_STORAGE = [
    queued_stream_in_each_format,
    queued_file_and_dataframe,
    one_question_for_resources_whatever_the_number_of_blobs,
    success_and_failure_are_told_in_the_status_queues,
    mappings_by_reference_and_inline,
    tags_and_ingest_if_not_exists,
    a_blob_is_deleted_or_kept_as_the_message_says,
    bad_blobs_are_found_out,
]
# These have nothing to do with storage, or want faults in it, which only the own one has.
ON_OWN_STORAGE = [
    the_failover_defect_of_the_sdk_is_detected,
    streaming_is_seen_at_once,
    streaming_is_refused_as_the_service_does,
    managed_streaming_falls_back_to_the_queue,
    throttled_commands_are_asked_again,
    answers_are_read_in_both_forms,
    queries_answer_and_name_what_they_do_not_know,
    endpoints_know_what_they_are,
    tokens_and_permissions_are_checked,
    a_forged_context_is_refused,
]
ALONE = [auth_metadata_in_each_form, batches_are_sealed_by_their_policy, signatures_run_out]


class Report:
    def __init__(self):
        self.failed = 0

    def run(self, storage, sdk, name, work):
        started = time.monotonic()
        try:
            work()
            result = "ok"
        except Exception:
            traceback.print_exc()
            result = "FAILED"
            self.failed += 1
        print(f"{result} | {storage} | {sdk} | {name.replace('_', ' ')} | {time.monotonic() - started:.1f} s", flush=True)


def free_ports():
    """Three in a row, as Azurite wants them, below those that the system gives to connections."""
    while True:
        port = random.randrange(20_000, 30_000)
        try:
            for number in range(port, port + 3):
                with socket.socket() as one:
                    one.bind(("127.0.0.1", number))
            return port
        except OSError:
            continue


def azurite(program):
    for _ in range(5):
        port = free_ports()
        ports = []
        for offset, name in enumerate(("blob", "queue", "table")):
            ports += [f"--{name}Port", str(port + offset)]
        command = [program, "--inMemoryPersistence", "--disableTelemetry", "--silent", "--skipApiVersionCheck", *ports]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        if all(answers(process, number) for number in range(port, port + 3)):
            return process, f"http://127.0.0.1:{port}/devstoreaccount1"
        # Somebody else was faster.
        process.kill()
        process.wait()
    raise RuntimeError("Azurite does not start")


def answers(process, port):
    for _ in range(900):
        if process.poll() is not None:
            return False
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return True
        except OSError:
            time.sleep(0.1)
    return False


def node(report, storage, server, modules):
    script = pathlib.Path(__file__).with_name("check.js")
    for table in ("NodeQueued", "NodeStreamed", "NodeManaged"):
        server.table(table)
    for table in ("NodeStreamed", "NodeManaged"):
        server.command(f".alter table {table} policy streamingingestion enable")
    environment = dict(os.environ, NODE_PATH=modules, DM=server.dm, ENGINE=server.engine, TOKEN=server.token(), LINES=LINES.decode())

    def check(name, confirm):
        def work():
            subprocess.run(["node", str(script), name], env=environment, check=True, timeout=60)
            confirm()

        report.run(storage, "node", name, work)

    def queued():
        records = server.ingestions("NodeQueued", 2)
        assert all(record["status"] == "Succeeded" for record in records), records
        assert server.query("NodeQueued | count") == [[6]]
        equal(server.query("NodeQueued | order by timestamp asc | where tag != ''")[::2])

    check("queued_file_and_stream", queued)
    check("streaming", lambda: equal(server.query("NodeStreamed")))
    server.fault(kind="stream", status=503, permanent=False, count=3)
    check("managed_streaming_falls_back", lambda: (server.ingestions("NodeManaged", 1), equal(server.query("NodeManaged"))))
    check("query", lambda: None)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--binary", required=True)
    arguments.add_argument("--azurite")
    arguments.add_argument("--node-modules")
    arguments.add_argument("--only", default="")
    given = arguments.parse_args()
    report = Report()
    storages = [("own", [])]
    emulator = None
    if given.azurite:
        emulator, url = azurite(given.azurite)
        storages.append(("azurite", ["--azurite", url]))
    try:
        for storage, options in storages:
            with Server(given.binary, *options) as server:
                server.azurite = storage == "azurite"
                for check in OVER_EACH_STORAGE + (ON_OWN_STORAGE if storage == "own" else []):
                    if given.only in check.__name__:
                        report.run(storage, "python", check.__name__, lambda: check(server))
                if given.node_modules and given.only in "node":
                    node(report, storage, server, given.node_modules)
        for check in ALONE:
            if given.only in check.__name__:
                report.run("own", "python", check.__name__, lambda: check(given.binary))
    finally:
        if emulator:
            emulator.terminate()
            emulator.wait()
    sys.exit(1 if report.failed else 0)


main()
