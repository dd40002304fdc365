// What the tests share: clients made from our own OpenAPI document, archives, and waiting for jobs.

import { execFileSync } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import JSZip from "jszip";
import createClient from "openapi-fetch";
import type { components, operations, paths } from "./api.js";

export type Job = components["schemas"]["JobModelDTO"];
export type Item = components["schemas"]["DirectoryItem"];
export type Result = components["schemas"]["InteractiveAppResult"];
export type User = components["schemas"]["User"];

// The names that generated clients know: this does not compile when one of them is missing.
export type Known = Pick<
  operations,
  | "application_greet"
  | "interactive_application_count"
  | "retrieve_jobs"
  | "retrieve_job"
  | "retrieve_job_file"
  | "retrieve_job_stdout"
  | "retrieve_job_stderr"
  | "retrieve_job_directories"
  | "retrieve_job_directories_from_path"
  | "retrieve_job_directory_as_archive"
  | "retrieve_job_subdirectory_as_archive"
  | "rename_job_name"
  | "delete_job"
  | "whoami"
  | "health_check"
>;

export const baseUrl = variable("BARTENDER_URL");
export const token = variable("VISITOR");

export function variable(name: string): string {
  const value = process.env[name];
  if (value === undefined) {
    throw new Error(`${name} is not set`);
  }
  return value;
}

export function clientOf(bearer: string) {
  return createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${bearer}` } });
}

export const client = clientOf(token);
export const stranger = clientOf(variable("STRANGER"));
export const nobody = createClient<paths>({ baseUrl });

export async function zip(files: Record<string, string>): Promise<Blob> {
  const archive = new JSZip();
  for (const [name, content] of Object.entries(files)) {
    archive.file(name, content);
  }
  const bytes = await archive.generateAsync({ type: "arraybuffer", compression: "DEFLATE" });
  return new Blob([bytes], { type: "application/zip" });
}

export function form(archive: Blob | null, fields: object = {}): FormData {
  const data = new FormData();
  if (archive !== null) {
    data.append("upload", archive, "job.zip");
  }
  for (const [name, value] of Object.entries(fields)) {
    data.append(name, String(value));
  }
  return data;
}

/** Submit a script as a web application does, and return the id of its job. */
export async function submit(script: string, files: Record<string, string> = {}): Promise<number> {
  const archive = await zip({ ...files, "script.sh": script });
  const { response } = await client.PUT("/api/application/script", {
    body: { upload: "" },
    bodySerializer: () => form(archive),
    redirect: "manual",
  });
  return accepted(response);
}

export function accepted(response: Response): number {
  const location = response.headers.get("Location") ?? "";
  const id = /\/api\/job\/(\d+)$/.exec(location)?.[1];
  if (response.status !== 303 || id === undefined) {
    throw new Error(`Not accepted: ${response.status}, Location ${location}`);
  }
  return Number(id);
}

export async function job(jobid: number): Promise<Job> {
  const { data, error } = await client.GET("/api/job/{jobid}", { params: { path: { jobid } } });
  if (error !== undefined) {
    throw new Error(`Job ${jobid}: ${JSON.stringify(error)}`);
  }
  return data;
}

/** Poll until the state is one of these. */
export async function until(jobid: number, ...states: Job["state"][]): Promise<Job> {
  const patience = Date.now() + 90_000;
  for (;;) {
    const now = await job(jobid);
    if (states.includes(now.state)) {
      return now;
    }
    if (Date.now() > patience) {
      throw new Error(`Job ${jobid} is ${now.state} for ever: ${now.reason}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Run a script and return the job's id once it ended well. */
export async function completed(script: string, files: Record<string, string> = {}): Promise<number> {
  const id = await submit(script, files);
  const ended = await until(id, "ok", "error");
  if (ended.state !== "ok") {
    throw new Error(`Job ${id}: ${ended.reason}`);
  }
  return id;
}

/** Return names and contents of the files in an archive, read by a program that is not ours. */
export function unpacked(content: ArrayBuffer, suffix: string): Record<string, string> {
  const path = join(mkdtempSync(join(tmpdir(), "archive-")), `archive${suffix}`);
  writeFileSync(path, Buffer.from(content));
  const output = execFileSync(variable("PYTHON"), ["-c", UNPACK, path], { encoding: "utf8" });
  return JSON.parse(output) as Record<string, string>;
}

const UNPACK = `
import json, sys, tarfile, zipfile
path = sys.argv[1]
if path.endswith(".zip"):
    archive = zipfile.ZipFile(path)
    files = {i.filename: archive.read(i).decode() for i in archive.infolist() if not i.is_dir()}
else:
    archive = tarfile.open(path)
    files = {m.name: archive.extractfile(m).read().decode() for m in archive.getmembers() if m.isfile()}
print(json.dumps(files))
`;
