// Files, directories and archives of a job that has ended.

import assert from "node:assert/strict";
import { before, test } from "node:test";
import { client, completed, unpacked } from "./support.js";
import type { Item } from "./support.js";

const SCRIPT = `
mkdir -p output/1_analysis/deep/deeper 'output/empty dir'
echo '<html></html>' > output/1_analysis/report.html
echo '{"score": NaN}' > output/1_analysis/io.json
echo text > 'output/1_analysis/with space & more (ü).txt'
echo plus > 'output/1_analysis/a+b=c@d,e;f.txt'
echo deep > output/1_analysis/deep/deeper/end.txt
echo log > output/log
ln -s 1_analysis output/link
ln -s /etc/passwd output/outside
`;

let jobid = 0;

before(async () => {
  jobid = await completed(SCRIPT, { "workflow.cfg": "a = 1" });
});

async function file(path: string) {
  return client.GET("/api/job/{jobid}/files/{path}", { params: { path: { jobid, path } }, parseAs: "text" });
}

for (const [path, content] of Object.entries({
  "workflow.cfg": "a = 1",
  "output/1_analysis/io.json": '{"score": NaN}\n',
  "output/1_analysis/with space & more (ü).txt": "text\n",
  "output/1_analysis/a+b=c@d,e;f.txt": "plus\n",
  "output/link/deep/deeper/end.txt": "deep\n",
})) {
  test(`the file ${path}, its slashes and all else as they are`, async () => {
    const { data, response } = await file(path);
    assert.equal(response.status, 200);
    assert.equal(data, content);
  });
}

test("a report opens in the browser", async () => {
  const { data, response } = await file("output/1_analysis/report.html");
  assert.equal(data, "<html></html>\n");
  assert.match(response.headers.get("Content-Type") ?? "", /^text\/html/);
  assert.match(response.headers.get("Content-Disposition") ?? "", /^inline/);
});

test("a file as a stream", async () => {
  const { data } = await client.GET("/api/job/{jobid}/files/{path}", {
    params: { path: { jobid, path: "output/log" } },
    parseAs: "stream",
  });
  assert.equal(await new Response(data).text(), "log\n");
});

for (const path of ["output/outside", "output/nothing", "output"]) {
  test(`no file ${path}`, async () => {
    assert.equal((await file(path)).response.status, 404);
  });
}

test("the directory of the job", async () => {
  const { data } = await client.GET("/api/job/{jobid}/directories", { params: { path: { jobid } } });
  assert.ok(data !== undefined);
  assert.deepEqual([data.name, data.path, data.is_dir, data.is_file], ["", ".", true, false]);
  const names = data.children?.map(({ name }: Item) => name);
  assert.deepEqual(names, ["output", "returncode", "script.sh", "stderr.txt", "stdout.txt", "workflow.cfg"]);
  const output = data.children?.[0];
  assert.deepEqual(output, { name: "output", path: "output", is_dir: true, is_file: false });
});

for (const path of ["output", "output/", "output/1_analysis"]) {
  test(`the directory ${path}, by paths from the job's`, async () => {
    const { data } = await client.GET("/api/job/{jobid}/directories/{path}", {
      params: { path: { jobid, path }, query: { max_depth: 3 } },
    });
    assert.ok(data?.children !== undefined);
    assert.equal(data.path, path.replace(/\/$/, ""));
    const names = data.children.map(({ name }: Item) => name);
    assert.deepEqual(names, [...names].sort());
    for (const item of everything(data)) {
      assert.ok(item.path.startsWith(data.path), item.path);
      assert.ok(!("children" in item) || (item.children?.length ?? 0) > 0, item.path);
    }
  });
}

function everything(item: Item): Item[] {
  return [item, ...(item.children ?? []).flatMap(everything)];
}

const formats = [".zip", ".tar", ".tar.gz", ".tar.bz2", ".tar.xz"] as const;

for (const archive_format of formats) {
  test(`the job as ${archive_format}, without what is excluded`, async () => {
    const { data, response } = await client.GET("/api/job/{jobid}/archive", {
      params: {
        path: { jobid },
        query: {
          archive_format,
          exclude: ["*.html", "stdout.txt"],
          exclude_dirs: ["deeper", "link"],
          filename: `mine${archive_format}`,
        },
      },
      parseAs: "arrayBuffer",
    });
    assert.ok(data !== undefined, String(response.status));
    const disposition = response.headers.get("Content-Disposition");
    assert.equal(disposition, `attachment; filename="mine${archive_format}"`);
    const files = unpacked(data, archive_format);
    assert.deepEqual(Object.keys(files).sort(), [
      "output/1_analysis/a+b=c@d,e;f.txt",
      "output/1_analysis/io.json",
      "output/1_analysis/with space & more (ü).txt",
      "output/log",
      "returncode",
      "script.sh",
      "stderr.txt",
      "workflow.cfg",
    ]);
    assert.equal(files["output/1_analysis/io.json"], '{"score": NaN}\n');
  });

  test(`a directory as ${archive_format}, without a folder around it`, async () => {
    const { data, response } = await client.GET("/api/job/{jobid}/archive/{path}", {
      params: { path: { jobid, path: "output/1_analysis/deep" }, query: { archive_format, filename: "" } },
      parseAs: "arrayBuffer",
    });
    assert.ok(data !== undefined, String(response.status));
    assert.match(response.headers.get("Content-Disposition") ?? "", /^attachment; filename="/);
    assert.deepEqual(unpacked(data, archive_format), { "deeper/end.txt": "deep\n" });
  });
}
