// What a step's script asks of tenantry, in Node.js 14 or later without other packages.
//
//     const tenantry = require("/opt/tenantry/lib/tenantry.js"); // or: import tenantry from "…/tenantry.js"
//
//     const key = await tenantry.secret("stripe_api_key");    // text; masked in the logs from now on
//     const raw = await tenantry.secretBytes("signing_key");  // the same as a Buffer
//     for (const { version, state, value } of await tenantry.accepted("webhook_key")) { … }
//     await tenantry.mask(derived);                           // a value made out of a secret
//     tenantry.output("rows", 17);                            // `${{ steps.ID.outputs.rows }}` of later steps
//
// Values are asked for when they are needed and kept nowhere. A refusal is `tenantry.Refused`, with `status` and
// `code`.
"use strict";

const fs = require("fs");
const http = require("http");

const TIMEOUT_MS = 30000;

/** The broker said no. `code` is a word such as `not_declared` or `revoked`; the text says what to do. */
class Refused extends Error {
  constructor(status, code, detail) {
    super(`${detail} (${status} ${code})`);
    this.name = "Refused";
    this.status = status;
    this.code = code;
  }
}

function variable(name) {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set: this works in a step only`);
  return value;
}

function ask(method, path, body) {
  return new Promise((resolve, reject) => {
    const headers = { Authorization: `Bearer ${variable("TENANTRY_TOKEN")}` };
    if (body !== undefined) headers["Content-Length"] = body.length;
    const options = { socketPath: variable("TENANTRY_SOCKET"), path, method, headers, agent: false };
    const request = http.request(options, (answer) => {
      const parts = [];
      answer.on("data", (part) => parts.push(part));
      answer.on("error", reject);
      answer.on("end", () => {
        const content = Buffer.concat(parts);
        if (answer.statusCode >= 200 && answer.statusCode < 300) return resolve(content);
        let problem = {};
        try {
          problem = JSON.parse(content.toString());
        } catch (error) {
          // No document says more than the status.
        }
        reject(new Refused(answer.statusCode, problem.code || "error", problem.detail || "refused"));
      });
    });
    request.setTimeout(TIMEOUT_MS, () => request.destroy(new Error("the broker does not answer")));
    request.on("error", reject);
    request.end(body);
  });
}

function pathOf(name, version) {
  for (const word of [name, version]) {
    if (word !== undefined && !/^[A-Za-z0-9_-]+$/.test(word)) {
      throw new TypeError(`${JSON.stringify(word)} can be no name of a secret or version`);
    }
  }
  return `/v1/secrets/${name}` + (version === undefined ? "" : `?version=${version}`);
}

/** The value of a secret that this step declares: the current one, or that of a version by its id. */
async function secretBytes(name, version) {
  return ask("GET", pathOf(name, version));
}

/** The same as text, which it has to be: UTF-8. */
async function secret(name, version) {
  return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(await secretBytes(name, version));
}

/** Every version that is accepted now, the current one first; `value` is a Buffer. */
async function accepted(name) {
  const { versions } = JSON.parse((await ask("GET", pathOf(name, "all"))).toString());
  return versions.map((one) => ({
    version: one.version,
    state: one.state,
    value: Buffer.from(one.value_base64, "base64"),
  }));
}

/** The names of the secrets that this step may ask for now. */
async function secrets() {
  return JSON.parse((await ask("GET", "/v1/secrets")).toString()).secrets.map((one) => one.name);
}

/** Masks a value, text or Buffer, in this step's output from now on: one that was made out of a secret. */
async function mask(value) {
  await ask("POST", "/v1/mask", Buffer.from(value));
}

/** The inputs of this step, by name. */
function inputs() {
  return JSON.parse(fs.readFileSync(variable("TENANTRY_INPUT"), "utf8"));
}

/** Sets one output of this step; a value is anything that JSON can hold. */
function output(name, value) {
  const path = variable("TENANTRY_OUTPUT");
  const text = fs.existsSync(path) ? fs.readFileSync(path, "utf8") : "";
  const outputs = text.trim() === "" ? {} : JSON.parse(text);
  outputs[name] = value;
  fs.writeFileSync(path, JSON.stringify(outputs));
}

module.exports = { Refused, accepted, inputs, mask, output, secret, secretBytes, secrets };
