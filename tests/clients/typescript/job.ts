// What a client does, with the types that openapi-typescript makes: upload, strategy, submit, wait, trades, delete.
import createClient from "openapi-fetch";

import type { components, paths } from "./schema.js";

type Schemas = components["schemas"];

const [url, bars] = [process.argv[2], process.argv[3]];
if (url === undefined || bars === undefined) throw new Error("usage: node job.js URL BARS");
const client = createClient<paths>({ baseUrl: url });

/** The data of a response; an error stops the job with its code. */
function data<T>(response: { data?: T; error?: Schemas["Problem"] }): T {
  if (response.data === undefined) throw new Error(response.error?.code ?? "no content");
  return response.data;
}

const dataset = data(
  await client.POST("/api/v1/datasets", {
    params: { query: { name: "typescript", symbol: "BTC/USDT", kind: "linear" } },
    body: bars,
    bodySerializer: (body) => body as string,
    headers: { "Content-Type": "application/octet-stream" },
  }),
);

const strategy: Schemas["Strategy"] = {
  entry_long: "crossover(sma(close, fast), sma(close, slow))",
  exit_long: "crossunder(sma(close, fast), sma(close, slow))",
  params: { fast: 5, slow: { type: "int", default: 20, min: 10, max: 50 } },
};
const stored = data(await client.POST("/api/v1/strategies", { body: { name: "typescript", strategy } }));

const execution: Schemas["Execution"] = { stop_loss: { long: { multiple: 2 } }, take_profit: 0.2, sizing: "equity_fraction" };
const submitted = data(await client.POST("/api/v1/backtests", { body: { dataset: dataset.id, strategy: stored.id, execution } }));
const path = { run_id: submitted.id };

const ended: Schemas["RunState"][] = ["succeeded", "failed", "cancelled", "dead"];
let run = submitted;
while (!ended.includes(run.state)) {
  await new Promise((wake) => setTimeout(wake, 50));
  run = data(await client.GET("/api/v1/backtests/{run_id}", { params: { path } }));
}
const trades = data(await client.GET("/api/v1/backtests/{run_id}/trades", { params: { path, query: { limit: 1000 } } }));

const kept = await client.DELETE("/api/v1/datasets/{dataset}", { params: { path: { dataset: dataset.id } } });
const deleted = await client.DELETE("/api/v1/strategies/{strategy}", { params: { path: { strategy: stored.id } } });

console.log(
  JSON.stringify({
    state: run.state,
    digest: run.result?.digest,
    trades: trades.items.map((trade) => trade.net),
    in_use: kept.error?.code,
    deleted: deleted.response.status,
  }),
);
