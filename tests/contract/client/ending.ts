// Renamed, cancelled and deleted jobs.

import assert from "node:assert/strict";
import { test } from "node:test";
import { client, completed, job, submit, until } from "./support.js";

async function status(jobid: number): Promise<number> {
  return (await client.GET("/api/job/{jobid}", { params: { path: { jobid } } })).response.status;
}

test("a job gets another name", async () => {
  const jobid = await completed("true");
  const { data, response } = await client.POST("/api/job/{jobid}/name", {
    params: { path: { jobid } },
    body: "My run, “the second”",
  });
  assert.deepEqual([response.status, data], [200, null]);
  assert.equal((await job(jobid)).name, "My run, “the second”");
});

for (const name of ["", "x".repeat(201)]) {
  test(`a name of ${name.length} characters is refused`, async () => {
    const jobid = await completed("true");
    // As JSON: this client leaves an empty body away.
    const { response } = await client.POST("/api/job/{jobid}/name", {
      params: { path: { jobid } },
      body: name || " ",
      bodySerializer: () => JSON.stringify(name),
    });
    assert.equal(response.status, 422);
  });
}

test("the Cancel button of the client, which deletes", async () => {
  const jobid = await submit("sleep 1000");
  await until(jobid, "running");
  const { response } = await client.DELETE("/api/job/{jobid}", { params: { path: { jobid } } });
  assert.equal(response.status, 204);
  assert.equal(await status(jobid), 404);
});

test("a completed job is deleted", async () => {
  const jobid = await completed("true");
  const { response } = await client.DELETE("/api/job/{jobid}", { params: { path: { jobid } } });
  assert.equal(response.status, 204);
  assert.equal(await status(jobid), 404);
  const again = await client.DELETE("/api/job/{jobid}", { params: { path: { jobid } } });
  assert.equal(again.response.status, 404);
});

test("a job that is cancelled stays, with its files", async () => {
  const jobid = await submit("sleep 1000", { "kept.txt": "kept" });
  await until(jobid, "running");
  const { data } = await client.POST("/api/job/{jobid}/cancel", { params: { path: { jobid } } });
  assert.equal(data?.id, jobid);
  assert.equal((await until(jobid, "error", "ok")).state, "error");
  const again = await client.POST("/api/job/{jobid}/cancel", { params: { path: { jobid } } });
  assert.equal(again.response.status, 200);
  const kept = await client.GET("/api/job/{jobid}/files/{path}", {
    params: { path: { jobid, path: "kept.txt" } },
    parseAs: "text",
  });
  assert.equal(kept.data, "kept");
});

test("what has ended by itself cannot be cancelled", async () => {
  const jobid = await completed("true");
  const { response } = await client.POST("/api/job/{jobid}/cancel", { params: { path: { jobid } } });
  assert.equal(response.status, 409);
});
