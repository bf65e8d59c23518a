// Microsoft's Node SDK against kusto-local: `node check.js CHECK`, started by check.py.
"use strict";
const { Readable } = require("stream");
const fs = require("fs");
const os = require("os");
const path = require("path");
const { Client, KustoConnectionStringBuilder } = require("azure-kusto-data");
const { IngestClient, IngestionProperties, DataFormat, StreamingIngestClient, ManagedStreamingIngestClient, StreamDescriptor } =
  require("azure-kusto-ingest");

const { DM, ENGINE, TOKEN, LINES } = process.env;
const builder = url => KustoConnectionStringBuilder.withAccessToken(url, TOKEN);
const properties = table => new IngestionProperties({ database: "db", table, format: DataFormat.JSON });

const checks = {
  async queued_file_and_stream() {
    const client = new IngestClient(builder(DM), properties("NodeQueued"));
    const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), "kusto-local-")), "records.json");
    fs.writeFileSync(file, LINES);
    await client.ingestFromFile(file);
    await client.ingestFromStream(Readable.from(Buffer.from(LINES)));
    fs.rmSync(path.dirname(file), { recursive: true });
    client.close();
  },
  async streaming() {
    const client = new StreamingIngestClient(builder(ENGINE), properties("NodeStreamed"));
    await client.ingestFromStream(Readable.from(Buffer.from(LINES)), properties("NodeStreamed"));
    client.close();
  },
  async managed_streaming_falls_back() {
    const client = new ManagedStreamingIngestClient(builder(ENGINE), builder(DM), properties("NodeManaged"));
    await client.ingestFromStream(Readable.from(Buffer.from(LINES)), properties("NodeManaged"));
    client.close();
  },
  async query() {
    const client = new Client(builder(ENGINE));
    const rows = [...(await client.execute("db", "NodeStreamed | order by timestamp asc")).primaryResults[0].rows()];
    const [first] = rows;
    if (rows.length !== 3 || first.tag !== "app" || first.log.n !== 1) throw new Error(JSON.stringify(rows));
    client.close();
  },
};

checks[process.argv[2]]().then(() => process.exit(0), error => {
  console.error(error);
  process.exit(1);
});
