// Interactive applications on a job that has ended.

import assert from "node:assert/strict";
import { before, test } from "node:test";
import { accepted, baseUrl, client, completed, form, stranger, submit, token, until, zip } from "./support.js";
import type { Result } from "./support.js";

let jobid = 0;

before(async () => {
  jobid = await completed("true", { "lines.txt": "a\nb\nab\n" });
});

async function count(job: number, pattern: string, by = client) {
  return by.POST("/api/job/{jobid}/interactive/count", {
    params: { path: { jobid: job } },
    body: { pattern, file: "lines.txt" },
  });
}

test("its result, and what it wrote, which the very next request sees", async () => {
  const { data, response } = await count(jobid, "a");
  assert.equal(response.status, 200);
  const expected: Result = { returncode: 0, stdout: "counted\n", stderr: "" };
  assert.deepEqual(data, expected);
  const written = await client.GET("/api/job/{jobid}/files/{path}", {
    params: { path: { jobid, path: "counted.txt" } },
    parseAs: "text",
  });
  assert.equal(written.data, "2\n");
});

test("a command that fails is an answer too", async () => {
  const { data, response } = await client.POST("/api/job/{jobid}/interactive/count", {
    params: { path: { jobid } },
    body: { pattern: "a", file: "absent.txt" },
  });
  assert.equal(response.status, 200);
  assert.notEqual(data?.returncode, 0);
  assert.match(data?.stderr ?? "", /absent/);
});

test("422 for what the schema does not have", async () => {
  const { error, response } = await client.POST("/api/job/{jobid}/interactive/count", {
    params: { path: { jobid } },
    body: { pattern: "a", file: "lines.txt" },
    bodySerializer: () => JSON.stringify({ pattern: 3 }),
  });
  assert.equal(response.status, 422);
  assert.equal(typeof error?.detail, "string");
});

test("422 on a job of another application", async () => {
  const archive = await zip({ "input.txt": "" });
  const { response } = await client.PUT("/api/application/greet", {
    body: { upload: "", name: "Ada" },
    bodySerializer: () => form(archive, { name: "Ada" }),
    redirect: "manual",
  });
  const other = accepted(response);
  await until(other, "ok");
  assert.equal((await count(other, "a")).response.status, 422);
});

test("an application that is not there is a fault of the visitor's", async () => {
  const response = await fetch(`${baseUrl}/api/job/${jobid}/interactive/nothing`, {
    method: "POST",
    headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
    body: "{}",
  });
  assert.ok([404, 422].includes(response.status), String(response.status));
});

test("404 for somebody else's job, 425 before its end", async () => {
  assert.equal((await count(jobid, "a", stranger)).response.status, 404);
  const running = await submit("sleep 1000");
  await until(running, "running");
  assert.equal((await count(running, "a")).response.status, 425);
  await client.DELETE("/api/job/{jobid}", { params: { path: { jobid: running } } });
});
