// Submission, and what is told about jobs.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import createClient from "openapi-fetch";
import type { paths } from "./api.js";
import { accepted, baseUrl, client, form, job, nobody, token, until, zip } from "./support.js";
import type { Job, User } from "./support.js";

test("health needs no token", async () => {
  const { response } = await nobody.GET("/api/health", { parseAs: "text" });
  assert.equal(response.status, 200);
});

test("whoami", async () => {
  const { data } = await client.GET("/api/whoami");
  const expected: User = { username: "visitor", roles: ["member"] };
  assert.deepEqual(data, expected);
});

test("a form with the fields of the application", async () => {
  const archive = await zip({ "input.txt": "hello" });
  const { response } = await client.PUT("/api/application/greet", {
    body: { upload: "", name: "Ada; Grace", times: 2, loud: true, style: "plain" },
    bodySerializer: ({ upload, ...fields }) => form(archive, fields),
    redirect: "manual",
  });
  const id = accepted(response);
  assert.equal((await job(id)).application, "greet");
  assert.equal((await until(id, "ok", "error")).state, "ok");
  const { data } = await client.GET("/api/job/{jobid}/stdout", {
    params: { path: { jobid: id } },
    parseAs: "text",
  });
  assert.equal(data, "Ada; Grace 2 true plain\n");
});

test("followed to the job, as fetch does when it is not told otherwise", async () => {
  const archive = await zip({ "script.sh": "true" });
  const { data, response } = await client.PUT("/api/application/script", {
    body: { upload: "" },
    bodySerializer: () => form(archive),
  });
  assert.equal(response.status, 200);
  assert.equal((data as unknown as Job).application, "script");
});

for (const path of ["/api/application/script", "/api/application/script/job"]) {
  test(`the bare archive to ${path}`, async () => {
    const response = await fetch(`${baseUrl}${path}`, {
      method: "PUT",
      headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/zip" },
      body: await zip({ "script.sh": "echo bare" }),
      redirect: "manual",
    });
    assert.equal((await until(accepted(response), "ok", "error")).state, "ok");
  });
}

test("a job has what the client shows", async () => {
  const archive = await zip({ "script.sh": "echo out; echo err >&2; exit 3" });
  const { response } = await client.PUT("/api/application/script/job", {
    body: { upload: "" },
    bodySerializer: () => form(archive),
    redirect: "manual",
  });
  const ended = await until(accepted(response), "ok", "error");
  assert.equal(ended.state, "error");
  assert.equal(typeof ended.id, "number");
  assert.ok(ended.name.length > 0);
  for (const moment of [ended.created_on, ended.updated_on]) {
    assert.ok(Math.abs(Date.now() - new Date(moment).getTime()) < 3_600_000, moment);
  }
  const params = { path: { jobid: ended.id } };
  const stdout = await client.GET("/api/job/{jobid}/stdout", { params, parseAs: "text" });
  const stderr = await client.GET("/api/job/{jobid}/stderr", { params, parseAs: "text" });
  assert.deepEqual([stdout.data, stderr.data], ["out\n", "err\n"]);
  assert.match(stdout.response.headers.get("Content-Type") ?? "", /^text\/plain/);
});

test("the list is an array, newest first, in pages", async () => {
  const { data = [] } = await client.GET("/api/job/", { params: { query: { limit: 100 } } });
  const ids = data.map(({ id }: Job) => id);
  assert.ok(ids.length > 1);
  assert.deepEqual(ids, [...ids].sort((a, b) => b - a));
  const page = await client.GET("/api/job/", { params: { query: { limit: 1, offset: 1 } } });
  assert.deepEqual(
    page.data?.map(({ id }: Job) => id),
    [ids[1]],
  );
});

test("an application that moves everything away, its output too", async () => {
  const archive = await zip({ "data/run.txt": "imported" });
  const { response } = await client.PUT("/api/application/runimport", {
    body: { upload: "" },
    bodySerializer: () => form(archive),
    redirect: "manual",
  });
  const id = accepted(response);
  assert.equal((await until(id, "ok", "error")).state, "ok");
  const { data } = await client.GET("/api/job/{jobid}/files/{path}", {
    params: { path: { jobid: id, path: "output/data/run.txt" } },
    parseAs: "text",
  });
  assert.equal(data, "imported");
});

test("answers are not compressed, though the client asks for it with every request", async () => {
  const asked = await headersOnTheWire();
  assert.match(asked["accept-encoding"] ?? "", /gzip/);
  assert.equal(asked["content-type"], "application/json");
  const { response } = await client.GET("/api/job/", { params: { query: { limit: 100 } } });
  assert.equal(response.headers.get("Content-Encoding"), null);
  const document = await fetch(`${baseUrl}/api/openapi.json`);
  assert.equal(document.headers.get("Content-Encoding"), null);
});

/** Return what this client sends with a DELETE. */
async function headersOnTheWire(): Promise<Record<string, string | string[] | undefined> & { "accept-encoding"?: string }> {
  return new Promise((resolve, reject) => {
    const listener = createServer((request, response) => {
      response.writeHead(204).end();
      listener.close();
      resolve(request.headers as Record<string, string>);
    });
    listener.listen(0, "127.0.0.1", () => {
      const { port } = listener.address() as AddressInfo;
      const local = createClient<paths>({ baseUrl: `http://127.0.0.1:${port}` });
      local.DELETE("/api/job/{jobid}", { params: { path: { jobid: 1 } } }).catch(reject);
    });
  });
}
