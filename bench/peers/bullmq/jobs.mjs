// BullMQ: `node jobs.mjs fill N`, `node jobs.mjs work CONCURRENCY CLIENT`; the client is undici or fetch.

import { Queue, Worker } from "bullmq";
import { Pool } from "undici";

const connection = { host: "127.0.0.1", port: Number(process.env.BENCH_REDIS_PORT), maxRetriesPerRequest: null };
const target = new URL(process.env.BENCH_URL);
const kept = { removeOnComplete: { count: 1000 }, removeOnFail: { count: 1000 } };

async function fill(jobs) {
  const queue = new Queue("bench", { connection });
  for (let made = 0; made < jobs; made += 1000) {
    const some = Math.min(1000, jobs - made);
    await queue.addBulk(Array.from({ length: some }, () => ({ name: "call", data: {}, opts: kept })));
  }
  await queue.close();
}

function clients(concurrency) {
  const pool = new Pool(target.origin, { connections: concurrency });
  return {
    undici: async () => {
      const answer = await pool.request({ path: target.pathname, method: "GET" });
      return { status: answer.statusCode, body: await answer.body.text() };
    },
    fetch: async () => {
      const answer = await fetch(target);
      return { status: answer.status, body: await answer.text() };
    },
  };
}

async function work(concurrency, client) {
  const worker = new Worker("bench", clients(concurrency)[client], { connection, concurrency });
  worker.on("error", (error) => console.error(error));
  process.on("SIGTERM", () => process.exit(0));
}

const [what, number, client] = process.argv.slice(2);
await { fill, work }[what](Number(number), client);
