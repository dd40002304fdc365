// The status codes that the client knows.

import assert from "node:assert/strict";
import { before, test } from "node:test";
import { baseUrl, client, clientOf, completed, form, nobody, stranger, submit, token, until, variable, zip } from "./support.js";

let jobid = 0;

before(async () => {
  jobid = await completed("true");
});

test("403 without a token", async () => {
  const { error, response } = await nobody.GET("/api/whoami");
  assert.equal(response.status, 403);
  assert.equal(typeof error?.detail, "string");
});

test("403 without the role", async () => {
  const archive = await zip({ "script.sh": "true" });
  const { response } = await client.PUT("/api/application/restricted", {
    body: { upload: "" },
    bodySerializer: () => form(archive),
    redirect: "manual",
  });
  assert.equal(response.status, 403);
});

for (const [what, bearer] of Object.entries({
  expired: variable("EXPIRED"),
  forged: variable("FORGED"),
  nonsense: "nonsense",
})) {
  test(`401 for a token that is ${what}`, async () => {
    const { error, response } = await clientOf(bearer).GET("/api/job/");
    assert.equal(response.status, 401);
    assert.equal(typeof error?.detail, "string");
  });
}

test("the token as a query and as a cookie", async () => {
  for (const [query, headers] of [
    [`?token=${token}`, {}],
    ["", { Cookie: `bartenderToken=${token}` }],
  ] as const) {
    assert.equal((await fetch(`${baseUrl}/api/whoami${query}`, { headers })).status, 200);
  }
});

test("404 for what is not there, and for what is somebody else's", async () => {
  const absent = { params: { path: { jobid: 999_999_999 } } };
  assert.equal((await client.GET("/api/job/{jobid}", absent)).response.status, 404);
  const mine = { params: { path: { jobid } } };
  const answers = [
    await stranger.GET("/api/job/{jobid}", mine),
    await stranger.GET("/api/job/{jobid}/stdout", mine),
    await stranger.GET("/api/job/{jobid}/directories", mine),
    await stranger.GET("/api/job/{jobid}/archive", mine),
    await stranger.POST("/api/job/{jobid}/name", { ...mine, body: "mine now" }),
    await stranger.POST("/api/job/{jobid}/cancel", mine),
    await stranger.DELETE("/api/job/{jobid}", mine),
  ];
  assert.deepEqual(
    answers.map(({ response }) => response.status),
    answers.map(() => 404),
  );
  assert.deepEqual((await stranger.GET("/api/job/")).data, []);
});

test("425 while the job runs", async () => {
  const running = await submit("sleep 1000");
  await until(running, "running");
  const params = { path: { jobid: running } };
  const answers = [
    await client.GET("/api/job/{jobid}/directories", { params }),
    await client.GET("/api/job/{jobid}/stdout", { params, parseAs: "text" }),
    await client.GET("/api/job/{jobid}/stderr", { params, parseAs: "text" }),
    await client.GET("/api/job/{jobid}/archive", { params, parseAs: "arrayBuffer" }),
    await client.GET("/api/job/{jobid}/files/{path}", {
      params: { path: { jobid: running, path: "script.sh" } },
      parseAs: "text",
    }),
  ];
  assert.deepEqual(
    answers.map(({ response }) => response.status),
    answers.map(() => 425),
  );
  assert.equal((await client.DELETE("/api/job/{jobid}", { params })).response.status, 204);
});

const refused: [string, Parameters<typeof zip>[0] | string | null, object][] = [
  ["a field is missing", { "input.txt": "" }, { style: "plain" }],
  ["a field is not what the schema has", { "input.txt": "" }, { name: "Ada", times: "many" }],
  ["a field is none of the choices", { "input.txt": "" }, { name: "Ada", style: "odd" }],
  ["a needed file is missing", { "other.txt": "" }, { name: "Ada" }],
  ["the archive is none", "no archive", { name: "Ada" }],
  ["there is no archive", null, { name: "Ada" }],
];
for (const [why, content, fields] of refused) {
  test(`422: ${why}`, async () => {
    const archive = typeof content === "string" ? new Blob([content]) : content && (await zip(content));
    const { error, response } = await client.PUT("/api/application/greet", {
      body: { upload: "", name: "" },
      bodySerializer: () => form(archive, fields),
      redirect: "manual",
    });
    assert.equal(response.status, 422);
    assert.equal(typeof error?.detail, "string");
  });
}

test("422 for an application that is not there", async () => {
  const response = await fetch(`${baseUrl}/api/application/nothing`, {
    method: "PUT",
    headers: { Authorization: `Bearer ${token}` },
    body: form(await zip({ "script.sh": "true" })),
    redirect: "manual",
  });
  assert.equal(response.status, 422);
});
